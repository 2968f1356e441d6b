// One agent for each pin directory: a lock on that directory itself, which ends with the process that holds it.

import { readFileSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { FileLock } from "bpf-ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { claimDirectory, makeDirectory, obstacleAt } from "./bpffs.ts";

export interface RootLock {
  /**
   * Locks the directory at the path if it has replaced the locked one, which was removed, unmounted or mounted over.
   * Returns false if another process has locked it: that process owns the pins from then on. Errors: OperationError, BpfError
   * without a BPF filesystem.
   */
  renew(): boolean;
  /** Idempotent. */
  close(): void;
}

/** How long a terminating agent, or a command, may still hold the lock. */
const WAIT_MS = 1_000;
const ATTEMPTS = 5;

/**
 * Creates the directory if it is missing, takes it over if it is another user's, and waits a moment for the lock. Errors: OperationError, with the code EBUSY if
 * another process holds it.
 */
export async function lockRoot(root: string, onTaken: OnTaken = () => undefined): Promise<RootLock> {
  for (let attempt = 1; ; attempt++) {
    prepare(root, onTaken);
    const lock = FileLock.acquire(root);
    if (lock !== undefined) return rootLock(root, lock, onTaken);
    if (attempt === ATTEMPTS) break;
    await sleep(WAIT_MS / ATTEMPTS);
  }
  const holder = holderOf(root);
  const who = holder === undefined ? "another agent" : `another agent (pid ${holder})`;
  throw new OperationError(`${who} has the pins; one directory of pins has one agent`, {
    operation: "lock",
    object: root,
    code: "EBUSY",
  });
}

/**
 * Keeps agents from the pins while a command changes them. Undefined if an agent has locked them; a directory that does not
 * exist needs no lock.
 */
export function lockExisting(root: string): Disposable | undefined {
  try {
    return FileLock.acquire(root);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return { [Symbol.dispose]: () => undefined };
    throw error;
  }
}

/** Called with what claimDirectory() returns, if there is any. */
type OnTaken = (paths: readonly string[]) => void;

/** A directory of pins that only this process's user can change. */
function prepare(root: string, onTaken: OnTaken): void {
  const taken = claimDirectory(root);
  if (taken.length > 0) onTaken(taken);
  makeDirectory(root);
}

function rootLock(root: string, first: FileLock, onTaken: OnTaken): RootLock {
  let lock = first;
  return {
    renew() {
      if (isAt(root, lock)) return true;
      const obstacle = obstacleAt(root);
      if (obstacle !== undefined)
        throw new OperationError(obstacle, { operation: "pin under", object: root });
      prepare(root, onTaken);
      const next = FileLock.acquire(root);
      if (next === undefined) return false;
      // Only now: an unmounted filesystem exists, with its pins, for as long as something in it is open.
      lock.close();
      lock = next;
      return true;
    },
    close: () => lock.close(),
  };
}

function isAt(root: string, { identity }: FileLock): boolean {
  try {
    const { dev, ino } = statSync(root);
    return dev === identity.device && ino === identity.inode;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw new OperationError(messageOf(error), { operation: "stat", object: root, cause: error });
  }
}

/**
 * The process that has locked a directory, without trying to lock it, which could block a starting agent.
 * Undefined if /proc/locks shows none: it lists only processes in this PID namespace.
 */
export function holderOf(root: string): number | undefined {
  const found = statSync(root, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  const { dev, ino } = found;
  const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
  const hex = (part: number): string => part.toString(16).padStart(2, "0");
  // "1: FLOCK  ADVISORY  WRITE 4711 00:2a:1234 0 EOF"
  const file = `${hex(major)}:${hex(minor)}:${ino}`;
  const fields = readFileSync("/proc/locks", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .find((each) => each[1] === "FLOCK" && each[5] === file);
  const pid = Number(fields?.[4]);
  return pid > 0 ? pid : undefined;
}
