// The command line's end of the agent's socket: one question, one answer.

import { request } from "node:http";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";

const ANSWER_BYTES_MAX = 256 * 1024 * 1024;
const TIMEOUT_MS = 3_000;

/** What connect(2) says where no process listens: no such file, or one that a dead agent left. */
const NOBODY = new Set(["ENOENT", "ECONNREFUSED", "ENOTDIR"]);

/**
 * Asks the agent; `path` as in "/v1/status". Undefined where no agent listens. @throws OperationError where one does and
 * gives no good answer in time ("ETIMEDOUT"), or may not be asked ("EACCES")
 */
export async function ask<T>(
  socketPath: string,
  path: string,
  timeoutMs = TIMEOUT_MS,
): Promise<T | undefined> {
  const failure = (reason: string, cause?: unknown): OperationError => {
    const code = codeOf(cause);
    return new OperationError(reason, {
      operation: "ask the agent at",
      object: socketPath,
      ...(code === undefined ? {} : { code }),
      cause,
    });
  };
  let answer: Answer;
  try {
    answer = await get(socketPath, path, timeoutMs);
  } catch (thrown) {
    if (NOBODY.has(codeOf(thrown) ?? "")) return undefined;
    if (codeOf(thrown) === "EACCES") throw failure("permission denied; run as root", thrown);
    throw failure(messageOf(thrown), thrown);
  }
  const value = parsed(answer.body);
  if (answer.status !== 200) throw failure(`status ${answer.status}: ${reasonIn(value)}`);
  if (value === undefined) throw failure(`the answer to ${path} is not JSON`);
  return value as T;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

class Late extends Error {
  readonly code = "ETIMEDOUT";
}

function get(socketPath: string, path: string, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method: "GET", agent: false, headers: { host: "weir" } });
    // One deadline for all of it: an agent that sends a byte now and then is no better than one that sends none.
    const timer = setTimeout(() => asked.destroy(new Late(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      settle();
    };
    asked.on("error", (error) => end(() => reject(error)));
    asked.on("response", (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX)
          asked.destroy(new Error(`an answer of more than ${ANSWER_BYTES_MAX} bytes`));
        else chunks.push(chunk);
      });
      response.on("error", (error) => end(() => reject(error)));
      response.on("end", () =>
        end(() => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() })),
      );
    });
    asked.end();
  });
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function reasonIn(value: unknown): string {
  const isObject = typeof value === "object" && value !== null;
  return isObject && "error" in value ? String(value.error) : "no reason given";
}
