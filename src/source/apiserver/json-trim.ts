// JSON text cut down to the fields that are wanted before it is parsed: of a pod's bytes nine tenths are never read.

/**
 * The fields of a map that are kept: whole, or cut down themselves. A name that ends in "*" stands for all that begin like it. The
 * elements of a list are cut down alike. What is not of the expected type is kept whole, for the parser to complain about.
 */
export interface Wanted {
  readonly [name: string]: true | Wanted;
}

/** Parses bytes of JSON. Errors: SyntaxError, or TypeError where what is kept is not UTF-8. */
export type ParseJson = (bytes: Uint8Array) => unknown;

interface Field {
  readonly name: Uint8Array;
  readonly isPrefix: boolean;
  readonly below: Shape;
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

export const parseWhole: ParseJson = (bytes) =>
  JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));

/**
 * A parser that keeps what is wanted. What is left out must only have its brackets and quotes in pairs. A key with an escaped
 * character, as no API server writes those that are wanted, is kept with its value.
 */
export function openTrimmer(wanted: Wanted): ParseJson {
  const shape = shapeOf(wanted);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let from: Uint8Array = new Uint8Array();
  let kept = Buffer.allocUnsafe(KEPT_FIRST);
  let length = 0;
  /** The brackets that end what is open in a value that is left out. */
  const closing: number[] = [];

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
        at = trim(at, field.below);
      }
      at = skipSpaces(at);
      if (from[at] === CLOSE_MAP) break;
      if (from[at] !== COMMA) throw wrong(at);
      at = skipSpaces(at + 1);
    }
    keepByte(CLOSE_MAP);
    return at + 1;
  }

  function trimList(start: number, below: readonly Field[]): number {
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
    for (let at = start; at < end; at += 1) if (from[at] === BACKSLASH) return ESCAPED;
    return undefined;
  }

  return (bytes) => {
    from = bytes;
    length = 0;
    // Nothing is ever longer than before.
    if (kept.length < bytes.length) kept = Buffer.allocUnsafe(bytes.length * 2);
    const start = skipSpaces(0);
    const end = skipSpaces(trim(start, shape));
    from = NOTHING;
    if (end !== bytes.length) throw new SyntaxError(`unexpected byte at ${end}`);
    const text = decoder.decode(kept.subarray(0, length));
    if (kept.length > KEPT_MAX) kept = Buffer.allocUnsafe(KEPT_FIRST);
    return JSON.parse(text);
  };
}

const NOTHING = new Uint8Array();
const ESCAPED: Field = { name: NOTHING, isPrefix: false, below: undefined };

const shapeOf = (wanted: Wanted): readonly Field[] =>
  Object.entries(wanted).map(([name, below]) => {
    const isPrefix = name.endsWith("*");
    return {
      name: new TextEncoder().encode(isPrefix ? name.slice(0, -1) : name),
      isPrefix,
      below: below === true ? undefined : shapeOf(below),
    };
  });
