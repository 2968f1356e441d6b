// One watch from its request to its end, and the order of resourceVersions on the way.

import { TIMER_MS_MAX } from "../../base/trigger.ts";
import { eventOf, type WatchEvent } from "./events.ts";
import { readLines } from "./lines.ts";
import type { ListOptions } from "./list-request.ts";
import { Failure, failureOf } from "./request-failure.ts";
import { within } from "./request-timing.ts";

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

/** Beyond what the server was asked to end it after. */
const GRACE_MS = 30_000;

/**
 * Watches until the server ends it in good order ("ended"), or until it is time to list anew ("periodic"). Errors:
 * Failure, for every other end.
 */
export async function watchFrom(from: From, options: WatchOptions): Promise<"ended" | "periodic"> {
  const { client, timing, signal } = options;
  const lastsMs = within(timing.watchMs);
  const path = `${options.path}?${new URLSearchParams(queryOf(from, lastsMs))}`;
  const end = openEnd(options, lastsMs, path);
  try {
    signal.throwIfAborted();
    const body = await client.get(path, end.signal);
    options.onOpen();
    options.onBytes();
    await readLines(body, {
      path,
      timing,
      onBytes: options.onBytes,
      onLine: (text) => {
        options.onEvent(eventOf(text, path));
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

/** What ends a watch besides the server: the agent's end, a time to list anew, or a server that forgets to end it. */
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
      Math.min(Math.max(0, at - performance.now()), TIMER_MS_MAX),
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
 * Whether version b is older than a. Versions are opaque by the API's contract; that they only grow within one store holds
 * for every server there is, and is all that is made of it: what looks older is listed anew.
 */
export const isOlder = (b: string, a: string): boolean =>
  /^\d{1,30}$/.test(a) && /^\d{1,30}$/.test(b) && BigInt(b) < BigInt(a);
