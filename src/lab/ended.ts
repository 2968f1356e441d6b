// Ends a child process on the way out of this one, when nothing else may run any more.

import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

const WAIT_MS = 5;
/** To wait on: never changes. */
const NOTHING = new Int32Array(new SharedArrayBuffer(4));

/** Kills it, and waits, at most so long, without letting anything else run. */
export function endNow(child: ChildProcess, waitMsMax: number): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  const deadline = Date.now() + waitMsMax;
  while (isRunning(child.pid) && Date.now() < deadline) Atomics.wait(NOTHING, 0, 0, WAIT_MS);
}

/** Whether a child still runs code; one that has ended stays as a zombie until the event loop comes to reap it. */
function isRunning(pid: number | undefined): boolean {
  if (pid === undefined || !existsSync(`/proc/${pid}/stat`)) return false;
  const state = readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /, "")[0];
  return state !== "Z" && state !== "X";
}
