// One request to the API server: over connections that are kept, with a limit on every wait.

import { type IncomingMessage, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import { codeOf } from "../../base/errors.ts";
import { valueAt } from "../parse/fields.ts";
import type { Access, Credentials } from "./credentials.ts";
import { Failure, failureOf, shown } from "./request-failure.ts";
import type { Timing } from "./request-timing.ts";

export interface Client {
  /**
   * Requests a path and returns the body of an answer with status 200. Errors: Failure. The signal ends it at any time,
   * also while the body is read.
   */
  get(path: string, signal: AbortSignal): Promise<IncomingMessage>;
  /**
   * Reads or changes something, and returns the object that the server answers with (status 200 or 201). The request
   * may be sent twice where the connection broke, so it must be idempotent. Errors: Failure.
   */
  send(call: Call, signal: AbortSignal): Promise<unknown>;
  close(): void;
}

export interface Call {
  readonly method: "GET" | "POST" | "PATCH";
  readonly path: string;
  /** What is sent, as JSON. */
  readonly body?: unknown;
  /** Its media type, where it is another than application/json. */
  readonly type?: string;
}

/** The size limit of an answer with one object: more than etcd stores. */
const OBJECT_BYTES_MAX = 8 << 20;

const ERROR_BYTES_MAX = 64 << 10;

export function openClient(credentials: Credentials, timing: Timing, agentName: string): Client {
  async function answered(call: Call, signal: AbortSignal): Promise<IncomingMessage> {
    const { path } = call;
    const answer = await answerOf(credentials, call, { signal, timing, agentName });
    const status = answer.statusCode ?? 0;
    if (status === 200 || (status === 201 && call.method === "POST")) return answer;
    // A token that has just been replaced looks like a wrong one.
    if (status === 401) credentials.renew();
    const text = await textOf(answer, path, ERROR_BYTES_MAX).catch(() => "");
    throw new Failure(refusalText(status, text), path, {
      why: status === 410 ? "expired" : "refused",
      status,
      ...retryAfterOf(answer, status),
    });
  }
  return {
    get: (path, signal) => answered({ method: "GET", path }, signal),
    async send(call, signal) {
      const answer = await answered(call, signal);
      try {
        return JSON.parse(await textOf(answer, call.path, OBJECT_BYTES_MAX));
      } catch (error) {
        if (error instanceof SyntaxError)
          throw new Failure("the answer is not JSON", call.path, { why: "unreadable", cause: error });
        throw failureOf(error, call.path);
      }
    },
    close: () => credentials.close(),
  };
}

interface RequestContext {
  readonly signal: AbortSignal;
  readonly timing: Timing;
  readonly agentName: string;
}

async function answerOf(
  credentials: Credentials,
  call: Call,
  context: RequestContext,
): Promise<IncomingMessage> {
  const { path } = call;
  // Authentication may run a program that hangs.
  const access = await inTime(credentials.access(), path, context).catch((error: unknown) => {
    throw failureOf(error, path);
  });
  try {
    return await requestOnce(access, call, context);
  } catch (error) {
    // The server may close a kept connection just as it is used again, which does not mean that it fails.
    if (!(error instanceof Failure) || !isReused(error) || context.signal.aborted) throw error;
    return requestOnce(access, call, context);
  }
}

const REUSED = Symbol("reused");
const isReused = ({ cause }: Failure): boolean =>
  cause instanceof Error && REUSED in cause && ["ECONNRESET", "EPIPE"].includes(codeOf(cause) ?? "");

function inTime<T>(work: Promise<T>, path: string, { signal, timing }: RequestContext): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Failure(`no credentials within ${timing.answerMs} ms`, path, { why: "silent" })),
      timing.answerMs,
    );
    const stop = () => reject(new Failure("aborted", path, { why: "broken" }));
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    });
  });
}

function requestOnce(
  access: Access,
  call: Call,
  { signal, timing, agentName }: RequestContext,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { method, path } = call;
    const url = new URL(access.server + path);
    const send = url.protocol === "https:" ? requestTls : requestPlain;
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const content =
      body === undefined
        ? {}
        : { "content-type": call.type ?? "application/json", "content-length": Buffer.byteLength(body) };
    const request = send(url, {
      method,
      agent: access.agent,
      headers: { accept: "application/json", "user-agent": agentName, ...content, ...access.headers },
      signal,
    });
    const timer = setTimeout(() => {
      request.destroy(new Failure(`no answer within ${timing.answerMs} ms`, path, { why: "silent" }));
    }, timing.answerMs);
    request.once("response", (answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
    request.on("error", (error) => {
      clearTimeout(timer);
      if (request.reusedSocket) Object.assign(error, { [REUSED]: true });
      reject(failureOf(error, path));
    });
    request.end(body);
  });
}

/** Reads a body to its end as text of at most `max` bytes. Errors: Failure or the connection's. */
export async function textOf(answer: IncomingMessage, path: string, max: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > max) throw new Failure(`the answer has more than ${max} bytes`, path, { why: "unreadable" });
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
}

/** The message of a Status, or the text as it is. */
function refusalText(status: number, text: string): string {
  let message: unknown;
  try {
    message = valueAt(JSON.parse(text), ["message"]);
  } catch {
    // A proxy between here and the server answers in its own format.
    message = text;
  }
  const said = typeof message === "string" ? shown(message) : "";
  return said === "" ? `HTTP ${status}` : `HTTP ${status}: ${said}`;
}

/** RFC 9110, 10.2.3: seconds or a date. */
function retryAfterOf({ headers }: IncomingMessage, status: number): { retryAfterMs?: number } {
  const text = headers["retry-after"];
  if (text === undefined || (status !== 429 && status !== 503)) return {};
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms > 0 ? { retryAfterMs: ms } : {};
}
