// One agent for one directory of pins: a lock on that directory itself, which ends with the process that holds it.

import { readFileSync, statSync } from "node:fs";
import { FileLock } from "bpf-ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { makeDirectory, obstacleAt } from "./bpffs.ts";

export interface RootLock {
  /**
   * Locks what the path leads to now, where that is not the directory that was locked: removed, unmounted, mounted over.
   * Returns false where another process has locked it: that one owns the pins from then on. Errors: OperationError, BpfError
   * where there is nothing to lock.
   */
  renew(): boolean;
  /** Idempotent. */
  close(): void;
}

/** Makes the directory where it is missing. Errors: OperationError, with the code EBUSY where another process holds it. */
export function lockRoot(root: string): RootLock {
  makeDirectory(root);
  let lock = acquire(root);
  if (lock === undefined) {
    const holder = holderOf(root);
    const who = holder === undefined ? "another agent" : `another agent (pid ${holder})`;
    throw new OperationError(`${who} has the pins; one directory of pins has one agent`, {
      operation: "lock",
      object: root,
      code: "EBUSY",
    });
  }
  return {
    renew() {
      if (lock !== undefined && isAt(root, lock)) return true;
      const obstacle = obstacleAt(root);
      if (obstacle !== undefined)
        throw new OperationError(obstacle, { operation: "pin under", object: root });
      makeDirectory(root);
      const next = acquire(root);
      if (next === undefined) return false;
      // Only now: an unmounted filesystem lives, with its pins, for as long as something in it is open.
      lock?.close();
      lock = next;
      return true;
    },
    close() {
      lock?.close();
      lock = undefined;
    },
  };
}

/** Whether an agent holds the lock now. */
export function isLocked(root: string): boolean {
  try {
    const lock = acquire(root);
    lock?.close();
    return lock === undefined;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

function acquire(root: string): FileLock | undefined {
  return FileLock.acquire(root);
}

function isAt(root: string, { identity }: FileLock): boolean {
  try {
    const { dev, ino } = statSync(root);
    return dev === identity.device && ino === identity.inode;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw new OperationError(messageOf(error), { operation: "look at", object: root, cause: error });
  }
}

/** The process that holds the lock, where /proc/locks shows it: to this process's PID namespace it may not. */
export function holderOf(root: string): number | undefined {
  const { ino } = statSync(root);
  // "1: FLOCK  ADVISORY  WRITE 4711 00:2a:1234 0 EOF": the device's number there is not that of stat(2) for all filesystems.
  const line = readFileSync("/proc/locks", "utf8")
    .split("\n")
    .find((each) => /\bFLOCK\b/.test(each) && each.includes(`:${ino} `));
  const pid = Number(line?.trim().split(/\s+/)[4]);
  return pid > 0 ? pid : undefined;
}
