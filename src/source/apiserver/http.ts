// One GET of the API server: over connections that are kept, with a limit on every wait.

import { type IncomingMessage, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import { codeOf } from "../../base/errors.ts";
import { valueAt } from "../parse/fields.ts";
import type { Access, Credentials } from "./credentials.ts";
import { Failure, failureOf, shown } from "./failure.ts";
import type { Timing } from "./timing.ts";

export interface Client {
  /**
   * Asks for a path and gives the body of an answer with status 200. Errors: Failure. The signal ends it at any time,
   * also while the body is read.
   */
  get(path: string, signal: AbortSignal): Promise<IncomingMessage>;
  close(): void;
}

const ERROR_BYTES_MAX = 64 << 10;

export function openClient(credentials: Credentials, timing: Timing, agentName: string): Client {
  return {
    async get(path, signal) {
      const answer = await answerOf(credentials, path, { signal, timing, agentName });
      const status = answer.statusCode ?? 0;
      if (status === 200) return answer;
      // A token that has just been replaced looks like a wrong one.
      if (status === 401) credentials.renew();
      const text = await textOf(answer, path, ERROR_BYTES_MAX).catch(() => "");
      throw new Failure(refusalText(status, text), path, {
        why: status === 410 ? "expired" : "refused",
        status,
        ...retryAfterOf(answer, status),
      });
    },
    close: () => credentials.close(),
  };
}

interface Asking {
  readonly signal: AbortSignal;
  readonly timing: Timing;
  readonly agentName: string;
}

async function answerOf(credentials: Credentials, path: string, asking: Asking): Promise<IncomingMessage> {
  // Signing in may be a program that hangs.
  const access = await inTime(credentials.access(), path, asking).catch((error: unknown) => {
    throw failureOf(error, path);
  });
  try {
    return await ask(access, path, asking);
  } catch (error) {
    // The server may close a kept connection just as it is used again, which says nothing of the server.
    if (!(error instanceof Failure) || !isReused(error) || asking.signal.aborted) throw error;
    return ask(access, path, asking);
  }
}

const REUSED = Symbol("reused");
const isReused = ({ cause }: Failure): boolean =>
  cause instanceof Error && REUSED in cause && ["ECONNRESET", "EPIPE"].includes(codeOf(cause) ?? "");

function inTime<T>(work: Promise<T>, path: string, { signal, timing }: Asking): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Failure(`no credentials within ${timing.answerMs} ms`, path, { why: "silent" })),
      timing.answerMs,
    );
    const stop = () => reject(new Failure("it was given up", path, { why: "broken" }));
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    });
  });
}

function ask(access: Access, path: string, { signal, timing, agentName }: Asking): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const url = new URL(access.server + path);
    const send = url.protocol === "https:" ? requestTls : requestPlain;
    const request = send(url, {
      agent: access.agent,
      headers: { accept: "application/json", "user-agent": agentName, ...access.headers },
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
    request.end();
  });
}

/** Reads a body to its end as text of at most `max` bytes. Errors: Failure or what the connection says. */
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
    // Something between here and the server answers in its own words.
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
