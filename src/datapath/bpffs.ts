// The BPF filesystem: its directories, and pins as links from a path to an object of the kernel.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { BpfLink, BpfMap, BpfProgram } from "bpf-ts";
import { bpffsObstacle, existingAbove } from "../base/bpffs-mount.ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";

/** The kinds of objects that can be pinned. */
interface Pinnable {
  readonly info: { readonly id: number };
  pin(path: string): void;
}

const OPEN = {
  map: (path: string) => BpfMap.openPinned(path),
  program: (path: string) => BpfProgram.openPinned(path),
  link: (path: string) => BpfLink.openPinned(path),
} as const;

export type PinKind = keyof typeof OPEN;

/** The object pinned at a path; undefined if there is none. Errors: BpfError. */
export function openPin<K extends PinKind>(kind: K, path: string): ReturnType<(typeof OPEN)[K]> | undefined {
  try {
    return OPEN[kind](path) as ReturnType<(typeof OPEN)[K]>;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Makes sure that exactly this object is pinned at a path. Returns whether it was not. Errors: OperationError, BpfError. */
export function ensurePinned(kind: PinKind, object: Pinnable, path: string): boolean {
  if (isPinned(kind, object, path)) return false;
  remove(path);
  makeDirectory(dirname(path));
  object.pin(path);
  return true;
}

function isPinned(kind: PinKind, object: Pinnable, path: string): boolean {
  try {
    using there = openPin(kind, path);
    return there?.info.id === object.info.id;
  } catch (error) {
    // An object of another kind.
    if (codeOf(error) === "ARGUMENT") return false;
    throw error;
  }
}

/** Removes what is pinned at the path and, with `recursive`, below it. Errors: OperationError. */
export function remove(path: string, recursive = false): void {
  try {
    rmSync(path, { force: true, recursive });
  } catch (error) {
    throw failure("remove", path, error);
  }
}

/** Entries of a directory, sorted; empty if it does not exist. Errors: OperationError. */
export function listDirectory(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw failure("list", path, error);
  }
}

/**
 * Creates a directory and its parents, for root only. Only on a BPF filesystem: if it is not mounted, the directory
 * below its mount point is sysfs, which refuses new directories with ENOENT, so that Node's recursive mkdir never ends.
 * Errors: OperationError.
 */
export function makeDirectory(path: string): void {
  const obstacle = obstacleAt(path);
  if (obstacle !== undefined) throw new OperationError(obstacle, { operation: "pin under", object: path });
  const existing = existingAbove(path);
  let made = existing;
  for (const name of relative(existing, path).split(sep).filter(Boolean)) {
    made = join(made, name);
    try {
      mkdirSync(made, { mode: 0o700 });
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw failure("make", made, error);
    }
  }
}

/** Throws the result of bpffsObstacle. Errors: OperationError. */
export function obstacleAt(path: string): string | undefined {
  try {
    return bpffsObstacle(path);
  } catch (error) {
    throw failure("look at", path, error);
  }
}

function failure(operation: string, object: string, cause: unknown): OperationError {
  const code = codeOf(cause);
  return new OperationError(messageOf(cause), { operation, object, cause, ...(code && { code }) });
}
