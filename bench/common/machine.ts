// What the bench runs on, and keeping it on one CPU.

import { execFileSync } from "node:child_process";
import { cpus, release, setPriority } from "node:os";
import { messageOf, OperationError } from "../../src/base/errors.ts";

export interface Machine {
  readonly machine: string;
  readonly kernel: string;
}

export function describeMachine(): Machine {
  const all = cpus();
  return { machine: `${all[0]?.model ?? process.arch}, ${all.length} CPUs`, kernel: release() };
}

/** Keeps this thread, which test runs run on, to one CPU and before others on it. The other threads stay as they are. */
export function pin(cpu: number): void {
  try {
    execFileSync("taskset", ["-cp", String(cpu), String(process.pid)], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    setPriority(process.pid, -20);
  } catch (thrown) {
    throw new OperationError(messageOf(thrown), { operation: "pin to", object: `CPU ${cpu}`, cause: thrown });
  }
}
