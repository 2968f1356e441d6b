// JSON text cut down to the fields that are wanted before it is parsed: of a pod's bytes nine tenths are never read.

/**
 * The fields of a map that are kept: whole, or cut down themselves. A name that ends in "*" stands for all that begin like it. The
 * elements of a list are cut down alike. What is not of the expected type is kept whole, for the parser to complain about.
 */
export interface Wanted {
  readonly [name: string]: Below | Shared;
}
type Below = true | Wanted;

const SHARED = Symbol("shared");
interface Shared {
  readonly [SHARED]: Below;
}

/**
 * A field of a map whose value is the same in most objects that come one after the other: it is parsed once, and equal texts give the
 * same object, which must not be changed.
 */
export const shared = (below: Below): Shared => ({ [SHARED]: below });

/** Parses bytes of JSON. Errors: SyntaxError, or TypeError where what is kept is not UTF-8. */
export type ParseJson = (bytes: Uint8Array) => unknown;

interface Field {
  readonly name: Uint8Array;
  readonly isPrefix: boolean;
  readonly below: Shape;
  readonly isShared: boolean;
}
type Shape = readonly Field[] | undefined;

export const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
export const [OPEN_LIST, CLOSE_LIST, OPEN_MAP, CLOSE_MAP] = [0x5b, 0x5d, 0x7b, 0x7d];
const [SPACE, TAB, LINE_FEED, RETURN] = [0x20, 0x09, 0x0a, 0x0d];
/** Of bytes copied one by one: for more, a call of the runtime is faster. */
const SHORT = 48;
/** Bytes of the buffer for what is kept, at first, and at most between two texts. */
const KEPT_FIRST = 1 << 12;
const KEPT_MAX = 1 << 20;
/** Shared values that are known at a time, and the bytes that one may have. */
const SLOTS = 256;
const SLOT_BYTES = 1_024;

export const parseWhole: ParseJson = (bytes) =>
  JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));

/**
 * A parser that keeps what is wanted. What is left out must only have its brackets and quotes in pairs. A key with an escaped
 * character, as no API server writes those that are wanted, is kept with its value.
 */
export function openTrimmer(wanted: Wanted): ParseJson {
  const shape = shapeOf(wanted);
  const places = sharedIn(wanted);
  const known = openShared();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let from: Uint8Array = new Uint8Array();
  let kept = Buffer.allocUnsafe(KEPT_FIRST);
  let length = 0;
  /** The brackets that end what is open in a value that is left out. */
  const closing: number[] = [];
  /** The shared values of this text: what is kept has their indexes instead. Undefined where they are kept themselves. */
  let found: unknown[] | undefined;
  /** Whether values had to be kept as they are although an index could be mistaken for them. */
  let isAmbiguous = false;

  const wrong = (at: number): SyntaxError =>
    new SyntaxError(at < from.length ? `unexpected byte at ${at}` : "unexpected end");

  function skipSpaces(start: number): number {
    let at = start;
    for (;;) {
      const byte = from[at];
      if (byte !== SPACE && byte !== LINE_FEED && byte !== RETURN && byte !== TAB) return at;
      at += 1;
    }
  }

  /** Behind the string whose quote is before `start`. */
  function endOfString(start: number): number {
    let at = start;
    for (;;) {
      const byte = from[at];
      if (byte === QUOTE) return at + 1;
      if (byte === undefined) throw wrong(at);
      at += byte === BACKSLASH ? 2 : 1;
    }
  }

  /** Behind the value that begins at `start`. */
  function endOfValue(start: number): number {
    const first = from[start];
    if (first === QUOTE) return endOfString(start + 1);
    let at = start;
    if (first === OPEN_MAP || first === OPEN_LIST) {
      let depth = 0;
      for (;;) {
        const byte = from[at];
        at += 1;
        if (byte === QUOTE) at = endOfString(at);
        else if (byte === OPEN_MAP || byte === OPEN_LIST) {
          closing[depth] = byte === OPEN_MAP ? CLOSE_MAP : CLOSE_LIST;
          depth += 1;
        } else if (byte === CLOSE_MAP || byte === CLOSE_LIST) {
          depth -= 1;
          // A bracket of the other kind would end the value elsewhere, and hide fields that are wanted.
          if (closing[depth] !== byte) throw wrong(at - 1);
          if (depth === 0) return at;
        } else if (byte === undefined) throw wrong(at);
      }
    }
    for (;;) {
      const byte = from[at];
      if (byte === undefined || byte === COMMA || byte === CLOSE_MAP || byte === CLOSE_LIST || byte <= SPACE)
        break;
      at += 1;
    }
    if (at === start) throw wrong(at);
    return at;
  }

  function keepByte(byte: number): void {
    kept[length] = byte;
    length += 1;
  }

  function keep(start: number, end: number): void {
    if (end - start > SHORT) {
      kept.set(from.subarray(start, end), length);
      length += end - start;
      return;
    }
    for (let at = start; at < end; at += 1) {
      kept[length] = from[at] as number;
      length += 1;
    }
  }

  /** Copies the value that begins at `start`, cut down; returns where it ends. */
  function trim(start: number, below: Shape): number {
    const first = from[start];
    if (below !== undefined && first === OPEN_MAP) return trimMap(start, below);
    if (below !== undefined && first === OPEN_LIST) return trimList(start, below);
    const end = endOfValue(start);
    keep(start, end);
    return end;
  }

  function trimMap(start: number, fields: readonly Field[]): number {
    let at = skipSpaces(start + 1);
    let some = false;
    keepByte(OPEN_MAP);
    if (from[at] === CLOSE_MAP) {
      keepByte(CLOSE_MAP);
      return at + 1;
    }
    for (;;) {
      if (from[at] !== QUOTE) throw wrong(at);
      const key = at;
      const keyEnd = endOfString(key + 1);
      at = skipSpaces(keyEnd);
      if (from[at] !== COLON) throw wrong(at);
      at = skipSpaces(at + 1);
      const field = fieldAt(fields, key + 1, keyEnd - 1);
      if (field === undefined) at = endOfValue(at);
      else {
        if (some) keepByte(COMMA);
        some = true;
        keep(key, keyEnd);
        keepByte(COLON);
        at = field.isShared && found !== undefined ? trimShared(at, field, found) : trim(at, field.below);
      }
      at = skipSpaces(at);
      if (from[at] === CLOSE_MAP) break;
      if (from[at] !== COMMA) throw wrong(at);
      at = skipSpaces(at + 1);
    }
    keepByte(CLOSE_MAP);
    return at + 1;
  }

  function trimShared(start: number, { below }: Field, all: unknown[]): number {
    const first = length;
    const end = trim(start, below);
    if (length - first > SLOT_BYTES) {
      isAmbiguous = true;
      return end;
    }
    const value = known(kept, first, length, () => JSON.parse(decoder.decode(kept.subarray(first, length))));
    const index = String(all.push(value) - 1);
    length = first;
    for (let at = 0; at < index.length; at += 1) keepByte(index.charCodeAt(at));
    return end;
  }

  function trimList(start: number, below: readonly Field[]): number {
    // No place in a list has a name.
    const outside = found;
    found = undefined;
    const end = trimItems(start, below);
    found = outside;
    return end;
  }

  function trimItems(start: number, below: readonly Field[]): number {
    let at = skipSpaces(start + 1);
    keepByte(OPEN_LIST);
    if (from[at] === CLOSE_LIST) {
      keepByte(CLOSE_LIST);
      return at + 1;
    }
    for (;;) {
      at = skipSpaces(trim(at, below));
      if (from[at] === CLOSE_LIST) break;
      if (from[at] !== COMMA) throw wrong(at);
      keepByte(COMMA);
      at = skipSpaces(at + 1);
    }
    keepByte(CLOSE_LIST);
    return at + 1;
  }

  function fieldAt(fields: readonly Field[], start: number, end: number): Field | undefined {
    for (const field of fields) {
      const { name, isPrefix } = field;
      if (isPrefix ? end - start < name.length : end - start !== name.length) continue;
      let index = 0;
      while (index < name.length && from[start + index] === name[index]) index += 1;
      if (index === name.length) return field;
    }
    for (let at = start; at < end; at += 1) {
      if (from[at] !== BACKSLASH) continue;
      isAmbiguous = true;
      return ESCAPED;
    }
    return undefined;
  }

  return (bytes) => {
    from = bytes;
    length = 0;
    // Nothing is ever longer than before.
    if (kept.length < bytes.length) kept = Buffer.allocUnsafe(bytes.length * 2);
    const start = skipSpaces(0);
    found = places.length === 0 ? undefined : [];
    isAmbiguous = false;
    let end = skipSpaces(trim(start, shape));
    if (isAmbiguous && found !== undefined) {
      found = undefined;
      length = 0;
      end = skipSpaces(trim(start, shape));
    }
    from = NOTHING;
    if (end !== bytes.length) throw new SyntaxError(`unexpected byte at ${end}`);
    const text = decoder.decode(kept.subarray(0, length));
    if (kept.length > KEPT_MAX) kept = Buffer.allocUnsafe(KEPT_FIRST);
    const value: unknown = JSON.parse(text);
    if (found !== undefined) for (const place of places) restore(value, place, found);
    return value;
  };
}

/** Puts a shared value where its index is. */
function restore(value: unknown, place: readonly string[], found: readonly unknown[]): void {
  let at = value;
  for (const name of place.slice(0, -1)) {
    if (!isObject(at) || !Object.hasOwn(at, name)) return;
    at = at[name];
  }
  const name = place.at(-1) as string;
  if (isObject(at) && Object.hasOwn(at, name)) at[name] = found[at[name] as number];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Where shared values are, as names of fields. */
const sharedIn = (wanted: Wanted): string[][] =>
  Object.entries(wanted).flatMap(([name, below]) => {
    if (isShared(below)) return [[name]];
    return below === true ? [] : sharedIn(below).map((place) => [name, ...place]);
  });

const isShared = (below: Below | Shared): below is Shared => below !== true && SHARED in below;

/** The last values by their bytes: one for each hash. */
function openShared() {
  const bytes = new Uint8Array(SLOTS * SLOT_BYTES);
  const lengths = new Int32Array(SLOTS).fill(-1);
  const values: unknown[] = new Array(SLOTS).fill(undefined);
  return (kept: Uint8Array, first: number, end: number, parse: () => unknown): unknown => {
    // FNV-1a.
    let hash = 0x811c9dc5;
    for (let at = first; at < end; at += 1) hash = Math.imul(hash ^ (kept[at] as number), 0x01000193);
    const slot = ((hash >>> 16) ^ hash) & (SLOTS - 1);
    const start = slot * SLOT_BYTES;
    let same = lengths[slot] === end - first;
    for (let at = first; same && at < end; at += 1) same = bytes[start + at - first] === kept[at];
    if (same) return values[slot];
    const value = parse();
    bytes.set(kept.subarray(first, end), start);
    lengths[slot] = end - first;
    values[slot] = value;
    return value;
  };
}

const NOTHING = new Uint8Array();
const ESCAPED: Field = { name: NOTHING, isPrefix: false, below: undefined, isShared: false };

const shapeOf = (wanted: Wanted): readonly Field[] =>
  Object.entries(wanted).map(([name, below]) => {
    const isPrefix = name.endsWith("*");
    return {
      name: new TextEncoder().encode(isPrefix ? name.slice(0, -1) : name),
      isPrefix,
      below: shapeBelow(isShared(below) ? below[SHARED] : below),
      isShared: isShared(below),
    };
  });

const shapeBelow = (below: Below): Shape => (below === true ? undefined : shapeOf(below));
