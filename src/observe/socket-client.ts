// The command line's end of the agent's socket: one request with one response, or with a stream of lines. Uses node:net,
// since node:http alone takes longer to load than all the rest of a command.

import { connect } from "node:net";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";

const ANSWER_BYTES_MAX = 256 * 1024 * 1024;
const TIMEOUT_MS = 3_000;

/** Codes of connect(2) if no process listens: no such file, or a file left by a dead agent. */
const NOBODY = new Set(["ENOENT", "ECONNREFUSED", "ENOTDIR"]);

/** The agent ended during the request. */
const ENDED = new Set(["ECONNRESET", "EPIPE"]);

export interface AskOptions {
  /** POST triggers an action in the agent. */
  readonly method?: "GET" | "POST";
  readonly timeoutMs?: number;
  /** JSON. */
  readonly body?: string;
}

/**
 * Sends a request to the agent; `path` as in "/v1/status". Undefined if no agent listens. @throws
 * OperationError if one does and gives no valid answer in time ("ETIMEDOUT"), or denies access ("EACCES")
 */
export async function ask<T>(
  socketPath: string,
  path: string,
  { method = "GET", timeoutMs = TIMEOUT_MS, body }: AskOptions = {},
): Promise<T | undefined> {
  const failure = (reason: string, cause?: unknown): OperationError => {
    const code = codeOf(cause);
    return new OperationError(reason, {
      operation: "query the agent at",
      object: socketPath,
      ...(code === undefined ? {} : { code }),
      cause,
    });
  };
  let answer: Answer;
  try {
    const exchangeOnce = (): Promise<Answer> =>
      exchange(socketPath, requestText(`${method} ${path}`, body), timeoutMs);
    answer = await exchangeOnce().catch((thrown: unknown) => {
      if (!ENDED.has(codeOf(thrown) ?? "")) throw thrown;
      // The agent may have been replaced: try the one that listens now, if any.
      return exchangeOnce();
    });
  } catch (thrown) {
    if (NOBODY.has(codeOf(thrown) ?? "")) return undefined;
    if (codeOf(thrown) === "EACCES") throw failure("permission denied", thrown);
    throw failure(messageOf(thrown), thrown);
  }
  const value = parsed(answer.body);
  if (answer.status === 403) throw failure(reasonIn(value), new Refusal(reasonIn(value), "EACCES"));
  if (answer.status !== 200) throw failure(`status ${answer.status}: ${reasonIn(value)}`);
  if (value === undefined) throw failure(`the answer to ${path} is not JSON`);
  return value as T;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Fails with a code, like connect(2). */
class Refusal extends Error {
  readonly code: string | undefined;

  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

function exchange(socketPath: string, request: string, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const connection = connect(socketPath);
    // One deadline for all of it: an agent that sends a byte now and then is no better than one that sends
    // none.
    const late = new Refusal(`no answer within ${timeoutMs} ms`, "ETIMEDOUT");
    const timer = setTimeout(() => connection.destroy(late), timeoutMs);
    const chunks: Buffer[] = [];
    let bytes = 0;
    connection.on("data", (chunk) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > ANSWER_BYTES_MAX) connection.destroy(new Refusal(`more than ${ANSWER_BYTES_MAX} bytes`));
    });
    connection.on("end", () => {
      const answer = answerIn(Buffer.concat(chunks));
      if (typeof answer === "string") reject(new Refusal(answer));
      else resolve(answer);
      connection.destroy();
    });
    connection.on("error", reject);
    connection.on("close", () => clearTimeout(timer));
    connection.write(request);
  });
}

/** HTTP/1.0 (RFC 1945): the server closes after its answer, and does not use chunks. */
function requestText(line: string, body?: string): string {
  const length = body === undefined ? "" : `content-length: ${Buffer.byteLength(body)}\r\n`;
  return `${line} HTTP/1.0\r\nhost: weir\r\n${length}\r\n${body ?? ""}`;
}

/** The answer in what was received, or why there is none. */
function answerIn(received: Buffer): Answer | string {
  const end = received.indexOf("\r\n\r\n");
  const head = received.subarray(0, Math.max(end, 0)).toString("latin1");
  const status = /^HTTP\/1\.[01] ([1-5][0-9]{2}) /.exec(head)?.[1];
  if (status === undefined) return "the answer is not HTTP";
  const length = /\r\ncontent-length: *([0-9]{1,15})(?:\r\n|$)/i.exec(head)?.[1];
  const body = received.subarray(end + 4);
  if (Number(length) !== body.length) return `the answer ended after ${body.length} bytes`;
  return { status: Number(status), body: body.toString() };
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

const HEAD_BYTES_MAX = 64 * 1024;
const LINE_BYTES_MAX = 1024 * 1024;

/**
 * Requests a stream of JSON lines and calls `onLine` with each, for as long as both sides keep it open. Resolves with false if no agent listens, and with true
 * when the agent has ended the answer, or the signal was aborted. @throws OperationError if it refuses, or
 * its answer is invalid
 */
export function followStream(
  socketPath: string,
  path: string,
  { onLine, signal }: { readonly onLine: (line: string) => void; readonly signal: AbortSignal },
): Promise<boolean> {
  const failure = (reason: string, cause?: unknown): OperationError => {
    const code = codeOf(cause);
    return new OperationError(reason, {
      operation: "follow the agent at",
      object: socketPath,
      ...(code === undefined ? {} : { code }),
      cause,
    });
  };
  return new Promise((resolve, reject) => {
    const connection = connect(socketPath);
    const stop = (): void => void connection.destroy();
    signal.addEventListener("abort", stop, { once: true });
    let rest = Buffer.alloc(0);
    let status: number | undefined;
    const lines = lineReader(onLine);
    connection.on("data", (chunk) => {
      if (status === 200) {
        if (!lines(chunk)) connection.destroy(failure(`a line of more than ${LINE_BYTES_MAX} bytes`));
        return;
      }
      rest = Buffer.concat([rest, chunk]);
      const end = rest.indexOf("\r\n\r\n");
      if (end < 0) {
        if (rest.length > HEAD_BYTES_MAX) connection.destroy(failure("the answer is not HTTP"));
        return;
      }
      status ??= Number(/^HTTP\/1\.[01] ([1-5][0-9]{2}) /.exec(rest.toString("latin1", 0, end))?.[1] ?? 0);
      if (status === 200) lines(rest.subarray(end + 4));
    });
    connection.on("error", (error) => {
      if (["ENOENT", "ECONNREFUSED", "ENOTDIR"].includes(codeOf(error) ?? "")) resolve(false);
      else reject(error instanceof OperationError ? error : failure(messageOf(error), error));
    });
    connection.on("close", () => {
      signal.removeEventListener("abort", stop);
      if (status === 200 || signal.aborted) resolve(true);
      else reject(failure(status === undefined ? "the answer was cut off" : refusalIn(status, rest)));
    });
    connection.write(requestText(`GET ${path}`));
  });
}

/** Takes bytes; returns false if a line does not end. */
function lineReader(onLine: (line: string) => void): (chunk: Buffer) => boolean {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      onLine(rest.toString("utf8", 0, end));
      rest = rest.subarray(end + 1);
    }
    return rest.length <= LINE_BYTES_MAX;
  };
}

function refusalIn(status: number, answer: Buffer): string {
  const body = answer.toString("utf8", answer.indexOf("\r\n\r\n") + 4);
  const reason = /"error":"((?:[^"\\]|\\.)*)"/.exec(body)?.[1] ?? "no reason given";
  return `status ${status}: ${reason}`;
}
