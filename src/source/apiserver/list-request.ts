// One list of the API server: page by page, item by item.

import { isMap, valueAt } from "../parse/fields.ts";
import type { Client } from "./http-client.ts";
import {
  BACKSLASH,
  CLOSE_LIST,
  CLOSE_MAP,
  COLON,
  COMMA,
  OPEN_LIST,
  OPEN_MAP,
  type ParseJson,
  parseWhole,
  QUOTE,
} from "./json-trim.ts";
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
  /** What every request for the kind has in its query. */
  readonly query: Readonly<Record<string, string>>;
  readonly timing: Timing;
  readonly signal: AbortSignal;
  /** Called whenever something comes. */
  readonly onBytes: (count: number) => void;
  readonly parse: Parsers;
}

/** What is kept of an item of a list, and of an event of a watch. */
export interface Parsers {
  readonly item: ParseJson;
  readonly event: ParseJson;
}

/**
 * Requests all pages and passes each object to `onItem`; returns the version from which a watch goes on: that of the
 * first page, which every later one continues. With `whole`, everything is requested at once: the only way where the
 * server drops old versions faster than pages come. Errors: Failure.
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
    // A list whose pages lead in a circle would keep a kind from ever being watched.
    if (performance.now() > until)
      throw new Failure(`the list took more than ${listMs} ms`, options.path, { why: "silent" });
  } while (next !== "");
  return version;
}

/** The server's current version, for the price of one object. Errors: Failure. */
export async function versionNow(options: ListOptions): Promise<string> {
  return (await readPage(options, { limit: "1" }, () => undefined)).version;
}

async function readPage(
  options: ListOptions,
  query: Readonly<Record<string, string>>,
  onItem: (raw: unknown) => void,
): Promise<Page> {
  const { client, timing, signal, onBytes, parse } = options;
  const path = `${options.path}?${new URLSearchParams({ ...options.query, ...query })}`;
  const late = new AbortController();
  const reason = new Failure(`a page of the list took more than ${timing.pageMs} ms`, path, {
    why: "silent",
  });
  const timer = setTimeout(() => late.abort(reason), timing.pageMs);
  const stop = () => late.abort();
  signal.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    const reader = openItems(path, { bytesMax: timing.bytesMax, parse: parse.item }, onItem);
    for await (const chunk of (await client.get(path, late.signal)) as AsyncIterable<Buffer>) {
      onBytes(chunk.length);
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

// The items of a list, one by one as its bytes come: a page is many times larger in memory than what is kept of it.

export interface ItemReader {
  /** Takes the next bytes of the text. Errors: Failure, and what `onItem` throws. */
  take(chunk: Buffer): void;
  /** The text without its items: `items` is an empty list. Errors: Failure where it is not JSON. */
  end(): unknown;
}

const SPACES: ReadonlySet<number | undefined> = new Set([0x20, 0x09, 0x0a, 0x0d]);

export interface ItemOptions {
  readonly bytesMax: number;
  /** Parses an item. */
  readonly parse: ParseJson;
}

/**
 * Reads a JSON object, and passes each map or list in the list under its key `items` to `onItem`. Brackets and strings
 * are found here; what is between them is left to `parse`. One item, and everything that is not an item, has at most
 * `bytesMax` bytes.
 */
export function openItems(
  path: string,
  { bytesMax, parse }: ItemOptions,
  onItem: (raw: unknown) => void,
): ItemReader {
  const item = openText(path, { bytesMax, parse });
  const rest = openText(path, { bytesMax, parse: parseWhole });
  /** Brackets that are open: the list of items is at depth 2, an item at depth 3. */
  let depth = 0;
  const strings = openStrings();
  let inItems = false;

  function open(byte: number): void {
    if (depth === 1 && byte === OPEN_LIST && strings.isKey("items")) inItems = true;
    depth += 1;
  }

  return {
    take(chunk) {
      let start = 0;
      let index = 0;
      /** What came since the last boundary belongs to the item that is open, or to none. */
      const flush = (end: number): void => {
        (inItems && depth >= 3 ? item : rest).add(chunk.subarray(start, end));
        start = end;
      };
      while (index < chunk.length) {
        if (strings.isOpen()) {
          index = strings.endIn(chunk, index);
          continue;
        }
        const byte = chunk[index] as number;
        if (byte === QUOTE) strings.open(depth === 1);
        else if (byte === COLON && depth === 1) strings.colon();
        else if (byte === OPEN_MAP || byte === OPEN_LIST) {
          if (inItems && depth === 2) flush(index);
          open(byte);
        } else if (byte === CLOSE_MAP || byte === CLOSE_LIST) {
          if (inItems && depth === 3) {
            flush(index + 1);
            onItem(item.parsed());
          }
          depth -= 1;
          if (depth === 1) inItems = false;
        } else if (inItems && depth === 2 && (byte === COMMA || SPACES.has(byte))) {
          // Between items: without them, nothing is left to separate.
          flush(index);
          start = index + 1;
        }
        index += 1;
      }
      flush(chunk.length);
    },
    end: () => rest.parsed(),
  };
}

/** No key that matters is longer. */
const KEY_BYTES_MAX = 16;

/** Strings, wherever chunks cut them, and the one that is a key. */
function openStrings() {
  let isOpen = false;
  let escaped = false;
  /** Of the last string that may have been a key, and whether it was one. */
  let bytes: number[] | undefined;
  let text = "";
  let isKey = false;
  return {
    isOpen: () => isOpen,
    isKey: (key: string) => isKey && text === key,
    open(mayBeKey: boolean): void {
      isOpen = true;
      bytes = mayBeKey ? [] : undefined;
    },
    /** After a string: it was a key. */
    colon() {
      isKey = true;
    },
    /** Where the string ends that is open at `at`, behind its quote; the chunk's length where it does not end here. */
    endIn(chunk: Buffer, at: number): number {
      for (let index = at; index < chunk.length; index += 1) {
        const byte = chunk[index] as number;
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          isOpen = false;
          if (bytes !== undefined) [text, isKey] = [Buffer.from(bytes).toString("latin1"), false];
          return index + 1;
        }
        if (bytes !== undefined && bytes.length < KEY_BYTES_MAX) bytes.push(byte);
      }
      return chunk.length;
    },
  };
}

function openText(path: string, { bytesMax, parse }: ItemOptions) {
  let parts: Buffer[] = [];
  let bytes = 0;
  const unreadable = (reason: string, cause?: unknown) =>
    new Failure(reason, path, { why: "unreadable", cause });
  return {
    add(part: Buffer): void {
      if (part.length === 0) return;
      bytes += part.length;
      if (bytes > bytesMax) throw unreadable(`the list has an object of more than ${bytesMax} bytes`);
      parts.push(part);
    },
    /** The value, once its text is whole; the next one begins. */
    parsed(): unknown {
      const [first, second] = parts;
      const whole = second === undefined && first !== undefined ? first : Buffer.concat(parts);
      parts = [];
      bytes = 0;
      try {
        return parse(whole);
      } catch (cause) {
        throw unreadable("the list is not JSON", cause);
      }
    },
  };
}
