// A list, page by page, so that no answer is as large as the cluster.

import { isMap, valueAt } from "../parse/fields.ts";
import type { Client } from "./http-client.ts";
import { openItems } from "./items.ts";
import { Failure, failureOf } from "./request-failure.ts";
import type { Timing } from "./request-timing.ts";

interface Page {
  /** resourceVersion of the list. */
  readonly version: string;
  /** Where to go on; "" after the last page. */
  readonly next: string;
}

export interface ListOptions {
  readonly client: Client;
  readonly path: string;
  readonly timing: Timing;
  readonly signal: AbortSignal;
  /** Called whenever something comes. */
  readonly onBytes: () => void;
}

/**
 * Asks for all pages and gives each object to `onItem`; returns the version from which a watch goes on: that of the first
 * page, which every later one continues. With `whole`, everything is asked for at once: where the server forgets faster
 * than pages come, there is no other way. Errors: Failure.
 */
export async function listAll(
  options: ListOptions,
  whole: boolean,
  onItem: (raw: unknown) => void,
): Promise<string> {
  const { listMs } = options.timing;
  const until = performance.now() + listMs;
  const limit = whole ? {} : { limit: String(options.timing.pageObjects) };
  let version: string | undefined;
  let next = "";
  do {
    const page = await readPage(options, { ...limit, ...(next === "" ? {} : { continue: next }) }, onItem);
    version ??= page.version;
    next = page.next;
    // A list that leads in a circle would keep a kind from being followed for ever.
    if (performance.now() > until)
      throw new Failure(`the list took more than ${listMs} ms`, options.path, { why: "silent" });
  } while (next !== "");
  return version;
}

/** The version that the server is at now, for the price of one object. Errors: Failure. */
export async function versionNow(options: ListOptions): Promise<string> {
  return (await readPage(options, { limit: "1" }, () => undefined)).version;
}

async function readPage(
  options: ListOptions,
  query: Readonly<Record<string, string>>,
  onItem: (raw: unknown) => void,
): Promise<Page> {
  const { client, timing, signal, onBytes } = options;
  const path = `${options.path}?${new URLSearchParams(query)}`;
  const late = new AbortController();
  const reason = new Failure(`a page of the list took more than ${timing.pageMs} ms`, path, {
    why: "silent",
  });
  const timer = setTimeout(() => late.abort(reason), timing.pageMs);
  const stop = () => late.abort();
  signal.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    const reader = openItems(path, timing.bytesMax, onItem);
    for await (const chunk of (await client.get(path, late.signal)) as AsyncIterable<Buffer>) {
      onBytes();
      reader.take(chunk);
    }
    return pageOf(reader.end(), path);
  } catch (error) {
    throw late.signal.reason === reason ? reason : failureOf(error, path);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

function pageOf(value: unknown, path: string): Page {
  const unreadable = (reason: string): Failure => new Failure(reason, path, { why: "unreadable" });
  const version = valueAt(value, ["metadata", "resourceVersion"]);
  const next = valueAt(value, ["metadata", "continue"]) ?? "";
  // Go writes an empty list as null.
  const others = valueAt(value, ["items"]) ?? [];
  if (!isMap(value) || typeof version !== "string" || version === "")
    throw unreadable("the list has no metadata.resourceVersion");
  if (typeof next !== "string") throw unreadable("metadata.continue of the list must be a string");
  if (!Array.isArray(others) || others.length > 0)
    throw unreadable("items of the list must be a list of objects");
  return { version, next };
}
