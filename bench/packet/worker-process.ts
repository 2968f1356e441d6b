// Starts a worker (worker.ts) and sends it requests, one after another.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { OperationError } from "../../src/base/errors.ts";
import type { Answer, Request } from "./worker.ts";

export interface Worker {
  /** Of these rows, the ones that it has. */
  open(request: Omit<Request & { kind: "open" }, "kind">): Promise<readonly string[]>;
  /** Nanoseconds for each packet. */
  measure(id: string, packets: number): Promise<number>;
  /** Resolves when all that it made is gone. */
  close(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL("worker.ts", import.meta.url));

/** For the revision in this folder. Requests throw OperationError. */
export function startWorker(name: string, root: string, progress: (text: string) => void): Worker {
  const child = fork(PROGRAM, [root], { cwd: root, stdio: ["ignore", 2, "inherit", "ipc"] });
  const ended = once(child, "exit");
  const request = async (message: Request): Promise<Answer> => {
    const answer = await answerOf(child, message, (text) => progress(`${name}: ${text}`));
    if (answer.kind !== "failed") return answer;
    throw new OperationError(answer.text, { operation: message.kind, object: name });
  };
  return {
    async open(options) {
      const answer = await request({ kind: "open", ...options });
      return answer.kind === "opened" ? answer.ids : [];
    },
    async measure(id, packets) {
      const answer = await request({ kind: "measure", id, packets });
      return answer.kind === "measured" ? answer.ns : Number.NaN;
    },
    async close() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

function answerOf(child: ChildProcess, request: Request, progress: (text: string) => void): Promise<Answer> {
  return new Promise((resolve) => {
    const done = (answer: Answer): void => {
      child.off("message", hear).off("exit", ended);
      resolve(answer);
    };
    const hear = (answer: Answer): void => {
      if (answer.kind === "progress") progress(answer.text);
      else done(answer);
    };
    const ended = (code: number | null, signal: string | null): void =>
      done({ kind: "failed", text: `the process ended early (${signal ?? code})` });
    child.on("message", hear).on("exit", ended);
    if (child.connected) child.send(request);
    else ended(child.exitCode, child.signalCode);
  });
}
