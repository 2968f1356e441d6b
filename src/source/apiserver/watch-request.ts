// One watch of the API server: the request, its lines, and its events.

import type { IncomingMessage } from "node:http";
import { timerMs } from "../../base/scheduler.ts";
import { isMap, valueAt } from "../parse/fields.ts";
import type { ParseJson } from "./json-trim.ts";
import type { ListOptions } from "./list-request.ts";
import { Failure, failureOf, shown } from "./request-failure.ts";
import { type Timing, within } from "./request-timing.ts";

export interface WatchOptions extends ListOptions {
  /** Gets every event in order; what it throws ends the watch. */
  readonly onEvent: (event: WatchEvent) => void;
  /** Called once the server has answered. */
  readonly onOpen: () => void;
  /** When the watch is to end in any case, in the milliseconds of performance.now(). */
  readonly endAt: () => number;
}

/** From where: a version that a list or an event had, or everything that there is first (a streaming list). */
export type From = { readonly version: string } | "everything";

/** Beyond the timeout that the watch requested. */
const GRACE_MS = 30_000;

/**
 * Watches until the server ends it normally ("ended"), or until it is time to relist ("periodic"). Errors: Failure, for
 * every other end.
 */
export async function watchFrom(from: From, options: WatchOptions): Promise<"ended" | "periodic"> {
  const { client, timing, signal } = options;
  const lastsMs = within(timing.watchMs);
  const path = `${options.path}?${new URLSearchParams({ ...options.query, ...queryOf(from, lastsMs) })}`;
  const end = openEnd(options, lastsMs, path);
  try {
    signal.throwIfAborted();
    const body = await client.get(path, end.signal);
    options.onOpen();
    options.onBytes(0);
    await readLines(body, {
      path,
      timing,
      onBytes: options.onBytes,
      onLine: (bytes) => {
        options.onEvent(eventOf(bytes, options.parse.event, path));
        end.look();
      },
    });
    return "ended";
  } catch (error) {
    if (end.isDue()) return "periodic";
    throw end.late() ?? failureOf(error, path);
  } finally {
    end.close();
  }
}

function queryOf(from: From, lastsMs: number): Record<string, string> {
  const query = {
    watch: "1",
    allowWatchBookmarks: "true",
    timeoutSeconds: String(Math.max(1, Math.ceil(lastsMs / 1_000))),
  };
  if (from !== "everything") return { ...query, resourceVersion: from.version };
  return { ...query, sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" };
}

/** What ends a watch besides the server: the agent's shutdown, a time to relist, or a server that does not end it in time. */
function openEnd({ signal, endAt }: WatchOptions, lastsMs: number, path: string) {
  const controller = new AbortController();
  let due = false;
  let late: Failure | undefined;
  const stop = () => controller.abort();
  signal.addEventListener("abort", stop, { once: true });
  let timer: NodeJS.Timeout | undefined;
  let at = Number.NaN;
  const look = (): void => {
    if (at === endAt()) return;
    at = endAt();
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        due = true;
        stop();
      },
      timerMs(at - performance.now()),
    );
  };
  look();
  const overtime = setTimeout(() => {
    late = new Failure("the server did not end the watch in time", path, { why: "silent" });
    stop();
  }, lastsMs + GRACE_MS);
  return {
    signal: controller.signal,
    look,
    isDue: () => due,
    late: () => late,
    close() {
      clearTimeout(timer);
      clearTimeout(overtime);
      signal.removeEventListener("abort", stop);
    },
  };
}

/**
 * Whether version b is older than a. Versions are opaque by the API's contract; that they only grow within one store
 * holds for every server there is, and is used for this alone: what looks older is relisted.
 */
export const isOlder = (b: string, a: string): boolean =>
  /^\d{1,30}$/.test(a) && /^\d{1,30}$/.test(b) && BigInt(b) < BigInt(a);

// The events of a watch: one line of JSON each, checked before any is trusted.

export type WatchEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: unknown }
  /** `initialEnd`: all initial objects have been sent. */
  | { readonly type: "BOOKMARK"; readonly version: string; readonly initialEnd: boolean };

/** The annotation of the bookmark that ends a streaming list. */
export const INITIAL_END = "k8s.io/initial-events-end";
const GONE = 410;

/** Errors: Failure, "expired" and "failed" for what the server reports in an ERROR event, else "unreadable". */
export function eventOf(line: Uint8Array, parse: ParseJson, path: string): WatchEvent {
  let event: unknown;
  try {
    event = parse(line);
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? "an event is not JSON" : "an event is not UTF-8";
    throw new Failure(reason, path, { why: "unreadable", cause });
  }
  const type = valueAt(event, ["type"]);
  const object = valueAt(event, ["object"]);
  if (!isMap(object)) throw new Failure("an event has no object", path, { why: "unreadable" });
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type, object };
    case "BOOKMARK":
      return bookmarkOf(object, path);
    case "ERROR":
      throw errorOf(object, path);
    default:
      throw new Failure(`an event has the unknown type ${shown(String(type))}`, path, { why: "unreadable" });
  }
}

function bookmarkOf(object: unknown, path: string): WatchEvent {
  const version = valueAt(object, ["metadata", "resourceVersion"]);
  if (typeof version !== "string" || version === "")
    throw new Failure("a bookmark has no metadata.resourceVersion", path, { why: "unreadable" });
  const initialEnd = valueAt(object, ["metadata", "annotations", INITIAL_END]) === "true";
  return { type: "BOOKMARK", version, initialEnd };
}

function errorOf(status: unknown, path: string): Failure {
  const code = valueAt(status, ["code"]);
  const message = valueAt(status, ["message"]);
  const text = typeof message === "string" ? shown(message) : "without a message";
  const seconds = valueAt(status, ["details", "retryAfterSeconds"]);
  return new Failure(`the server ended the watch: ${text}`, path, {
    why: code === GONE ? "expired" : "failed",
    ...(typeof code === "number" ? { status: code } : {}),
    ...(typeof seconds === "number" && seconds > 0 ? { retryAfterMs: seconds * 1_000 } : {}),
  });
}

// The lines of a watch as they come: none too long, too slow or cut off, and never a silence that lasts.

export interface LinesOptions {
  /** For error messages. */
  readonly path: string;
  readonly timing: Pick<Timing, "bytesMax" | "idleMs" | "lineMs">;
  /** Called whenever something comes, be it part of a line. */
  readonly onBytes: (count: number) => void;
  /** Gets every line; what it throws ends readLines(). */
  readonly onLine: (bytes: Uint8Array) => void;
}

const [LINE_END, SPACE] = [0x0a, 0x20];

/**
 * Reads lines until the body ends normally. Errors: Failure where it does not, where a line is cut off, too long
 * or too slow, or where nothing comes for too long; and what `onLine` throws.
 */
export async function readLines(body: IncomingMessage, options: LinesOptions): Promise<void> {
  const { path, onBytes } = options;
  const clock = openClock(body, options);
  const assembler = openAssembler(options);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      onBytes(chunk.length);
      const lines = assembler.take(chunk);
      clock.received(lines > 0, assembler.pending() > 0);
    }
  } finally {
    clock.close();
  }
  if (assembler.pending() > 0)
    throw new Failure("the connection ended in the middle of an event", path, { why: "broken" });
}

/** Ends a body that goes silent, or that never comes to the end of a line. */
function openClock(body: IncomingMessage, { path, timing }: LinesOptions) {
  const end = (reason: string) => () => {
    body.destroy(new Failure(reason, path, { why: "silent" }));
  };
  const idle = setTimeout(end(`no data for ${timing.idleMs} ms`), timing.idleMs);
  let line: NodeJS.Timeout | undefined;
  return {
    received(lineEnded: boolean, inLine: boolean) {
      idle.refresh();
      if (lineEnded) {
        clearTimeout(line);
        line = undefined;
      }
      if (inLine) line ??= setTimeout(end(`an event took more than ${timing.lineMs} ms`), timing.lineMs);
    },
    close() {
      clearTimeout(idle);
      clearTimeout(line);
    },
  };
}

function openAssembler({ path, timing, onLine }: LinesOptions) {
  let parts: Buffer[] = [];
  let bytes = 0;
  const finish = (last: Buffer): void => {
    const whole = parts.length === 0 ? last : Buffer.concat([...parts, last]);
    parts = [];
    bytes = 0;
    if (whole.some((byte) => byte > SPACE)) onLine(whole);
  };
  return {
    /** Returns how many lines ended in it. */
    take(chunk: Buffer): number {
      let start = 0;
      let lines = 0;
      for (let end = chunk.indexOf(LINE_END); end >= 0; end = chunk.indexOf(LINE_END, start)) {
        finish(chunk.subarray(start, end));
        start = end + 1;
        lines += 1;
      }
      if (start === chunk.length) return lines;
      const rest = chunk.subarray(start);
      bytes += rest.length;
      if (bytes > timing.bytesMax)
        throw new Failure(`an event has more than ${timing.bytesMax} bytes`, path, { why: "unreadable" });
      parts.push(rest);
      return lines;
    },
    /** Bytes of the line that has begun. */
    pending: () => bytes,
  };
}
