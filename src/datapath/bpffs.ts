// The BPF filesystem: its directories, and pins as links from a path to an object of the kernel.

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
} from "node:fs";
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

/**
 * Makes a directory of pins, and all in it, this process's own where another user has made it: a BPF filesystem may be writable for everyone,
 * and the owner of a directory can remove what is pinned there. Without capabilities an owner cannot be changed, so a new directory takes the
 * place of another's, with its pins. What is no directory, and links that another user has made, are removed. Returns the paths that were another's.
 * Errors: OperationError.
 */
export function claimDirectory(path: string): readonly string[] {
  try {
    return claimed(isOwnLink(path) && existsSync(path) ? realpathSync(path) : path);
  } catch (error) {
    throw failure("take over", path, error);
  }
}

/** Only their owner may write to directories of pins. */
const WRITABLE_FOR_OTHERS = 0o022;
const DIRECTORY_MODE = 0o700;

const statusOf = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false });

/** A link that this process's user has made may lead anywhere. */
const isOwnLink = (path: string): boolean => {
  const status = statusOf(path);
  return status?.isSymbolicLink() === true && status.uid === process.getuid?.();
};

function claimed(path: string): string[] {
  const status = statusOf(path);
  if (status === undefined || isOwnLink(path)) return [];
  if (!status.isDirectory()) {
    rmSync(path);
    return [path];
  }
  if (status.uid !== process.getuid?.()) {
    replaceDirectory(path);
    return [path];
  }
  const isOpen = (status.mode & WRITABLE_FOR_OTHERS) !== 0;
  if (isOpen) chmodSync(path, DIRECTORY_MODE);
  // Only now nobody else makes entries here.
  const below = readdirSync(path, { withFileTypes: true })
    .filter((entry) => !entry.isFile())
    .flatMap(({ name }) => claimed(join(path, name)));
  return isOpen ? [path, ...below] : below;
}

function replaceDirectory(path: string): void {
  const own = `${path}-new`;
  rmSync(own, { recursive: true, force: true });
  moveFiles(path, own);
  // What is left is not readable, so nothing of this process's is in it.
  if (statusOf(path) !== undefined) renameSync(path, `${path}-another-${process.pid}`);
  renameSync(own, path);
}

/** To a new directory, and what is below to new ones there. */
function moveFiles(from: string, to: string): void {
  mkdirSync(to, { mode: DIRECTORY_MODE });
  try {
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      const [before, after] = [from, to].map((each) => join(each, entry.name)) as [string, string];
      if (entry.isDirectory()) moveFiles(before, after);
      else if (entry.isFile()) renameSync(before, after);
      else rmSync(before);
    }
    rmdirSync(from);
  } catch (error) {
    if (codeOf(error) !== "EACCES" && codeOf(error) !== "ENOTEMPTY") throw error;
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
