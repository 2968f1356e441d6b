// Templates as `kubectl -o jsonpath=` takes them, parsed: text, and in braces paths, quoted text, and range … end.

export type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "path"; readonly steps: readonly Step[] }
  | { readonly kind: "range"; readonly steps: readonly Step[]; readonly body: readonly Part[] };

export type Step =
  /** Members of an object by these names. */
  | { readonly kind: "names"; readonly names: readonly string[] }
  /** Every member or element. */
  | { readonly kind: "all" }
  /** The value itself and everything below it. */
  | { readonly kind: "descend" }
  /** Elements by index, from the end where negative. */
  | { readonly kind: "indexes"; readonly indexes: readonly number[] }
  | { readonly kind: "slice"; readonly from?: number; readonly to?: number; readonly step: number }
  | { readonly kind: "filter"; readonly left: Operand; readonly test?: Test };

export type Operand =
  | { readonly kind: "path"; readonly steps: readonly Step[] }
  | { readonly kind: "value"; readonly value: string | number | boolean | null };

export interface Test {
  readonly operator: Operator;
  readonly right: Operand;
}

const OPERATORS = ["==", "!=", "<=", ">=", "<", ">"] as const;
export type Operator = (typeof OPERATORS)[number];

/** The template is wrong: where, and what was expected there. */
export class TemplateError extends Error {
  constructor(reason: string, at: number) {
    super(`jsonpath: at character ${at + 1}: ${reason}`);
    this.name = "TemplateError";
  }
}

interface Cursor {
  readonly text: string;
  at: number;
}

/** A template without braces that begins like a path is taken for one. @throws TemplateError */
export function parseTemplate(template: string): Part[] {
  const text = /^[.[$@]/.test(template) && !template.includes("{") ? `{${template}}` : template;
  const cursor: Cursor = { text, at: 0 };
  const parts = parseParts(cursor);
  if (cursor.at < text.length) throw new TemplateError("{end} without {range}", cursor.at);
  return parts;
}

/** Up to the end, or to an {end}, which is left for the caller. */
function parseParts(cursor: Cursor): Part[] {
  const parts: Part[] = [];
  const { text } = cursor;
  while (cursor.at < text.length) {
    const open = text.indexOf("{", cursor.at);
    if (open !== cursor.at) {
      const end = open < 0 ? text.length : open;
      parts.push({ kind: "text", text: text.slice(cursor.at, end) });
      cursor.at = end;
      continue;
    }
    if (/^\{\s*end\s*\}/.test(text.slice(open))) return parts;
    cursor.at += 1;
    parts.push(...parseBraces(cursor, open));
  }
  return parts;
}

/** What stands between braces, after the opening one: any number of paths and quoted texts, or a range. */
function parseBraces(cursor: Cursor, open: number): Part[] {
  if (/^\s*range\b/.test(rest(cursor))) return [parseRange(cursor, open)];
  const parts: Part[] = [];
  for (;;) {
    skipSpace(cursor);
    const next = cursor.text[cursor.at];
    if (next === undefined) throw new TemplateError("the brace is never closed", open);
    if (next === "}") {
      cursor.at += 1;
      return parts;
    }
    if (next === '"' || next === "'") parts.push({ kind: "text", text: parseQuoted(cursor) });
    else parts.push({ kind: "path", steps: parsePath(cursor) });
  }
}

function parseRange(cursor: Cursor, open: number): Part {
  skipSpace(cursor);
  cursor.at += "range".length;
  skipSpace(cursor);
  const steps = parsePath(cursor);
  skipSpace(cursor);
  expect(cursor, "}");
  const body = parseParts(cursor);
  const end = /^\{\s*end\s*\}/.exec(rest(cursor));
  if (end === null) throw new TemplateError("{range} without {end}", open);
  cursor.at += end[0].length;
  return { kind: "range", steps, body };
}

const rest = (cursor: Cursor): string => cursor.text.slice(cursor.at);

function skipSpace(cursor: Cursor): void {
  while (/\s/.test(cursor.text[cursor.at] ?? "")) cursor.at += 1;
}

function expect(cursor: Cursor, token: string): void {
  if (!cursor.text.startsWith(token, cursor.at)) throw new TemplateError(`expected ${token}`, cursor.at);
  cursor.at += token.length;
}

/** Names end where a path goes on or ends; a backslash takes the next character as it is. */
const NAME = /^(?:\\.|[^\s.[\]{}()=!<>,'"\\])+/;

/** "$", "@" or nothing, then steps. */
function parsePath(cursor: Cursor): Step[] {
  const start = cursor.at;
  const steps: Step[] = [];
  if (/[$@]/.test(cursor.text[cursor.at] ?? "")) cursor.at += 1;
  for (;;) {
    const next = cursor.text[cursor.at];
    if (next === "[") steps.push(parseBracket(cursor));
    else if (next === ".") steps.push(...parseDot(cursor));
    else break;
  }
  if (cursor.at === start)
    throw new TemplateError(`expected a path such as .name or [0], or quoted text`, cursor.at);
  return steps;
}

function parseDot(cursor: Cursor): Step[] {
  cursor.at += 1;
  const descends = cursor.text[cursor.at] === ".";
  if (descends) cursor.at += 1;
  const before: Step[] = descends ? [{ kind: "descend" }] : [];
  // "{.}" and ".[0]": the value itself.
  if (!descends && /^[[\]}\s)=!<>]/.test(rest(cursor))) return [];
  if (descends && cursor.text[cursor.at] === "[") return before;
  const [name] = NAME.exec(rest(cursor)) ?? [];
  if (name === undefined) throw new TemplateError("expected a name after the dot", cursor.at);
  cursor.at += name.length;
  if (name === "*") return [...before, { kind: "all" }];
  return [...before, { kind: "names", names: [name.replaceAll(/\\(.)/g, "$1")] }];
}

function parseBracket(cursor: Cursor): Step {
  cursor.at += 1;
  skipSpace(cursor);
  const step = parseInBracket(cursor);
  skipSpace(cursor);
  expect(cursor, "]");
  return step;
}

function parseInBracket(cursor: Cursor): Step {
  const next = cursor.text[cursor.at];
  if (next === "*") {
    cursor.at += 1;
    return { kind: "all" };
  }
  if (next === "?") return parseFilter(cursor);
  if (next === "'" || next === '"') {
    return { kind: "names", names: parseList(cursor, () => parseQuoted(cursor)) };
  }
  const slice = /^(-?\d+)?\s*:\s*(-?\d+)?(?:\s*:\s*(\d+))?/.exec(rest(cursor));
  if (slice !== null) return parseSlice(cursor, slice);
  return { kind: "indexes", indexes: parseList(cursor, () => parseIndex(cursor)) };
}

function parseSlice(cursor: Cursor, [all, from, to, step]: readonly (string | undefined)[]): Step {
  if (step === "0" || step === "00") throw new TemplateError("the step of a slice is 0", cursor.at);
  cursor.at += all?.length ?? 0;
  return {
    kind: "slice",
    ...(from === undefined ? {} : { from: Number(from) }),
    ...(to === undefined ? {} : { to: Number(to) }),
    step: Number(step ?? 1),
  };
}

function parseIndex(cursor: Cursor): number {
  const [digits] = /^-?\d+/.exec(rest(cursor)) ?? [];
  if (digits === undefined)
    throw new TemplateError("expected an index, a slice, *, ?(…) or a quoted name", cursor.at);
  cursor.at += digits.length;
  return Number(digits);
}

function parseList<T>(cursor: Cursor, parseOne: () => T): T[] {
  const items = [parseOne()];
  for (;;) {
    skipSpace(cursor);
    if (cursor.text[cursor.at] !== ",") return items;
    cursor.at += 1;
    skipSpace(cursor);
    items.push(parseOne());
  }
}

function parseFilter(cursor: Cursor): Step {
  cursor.at += 1;
  expect(cursor, "(");
  const left = parseOperand(cursor);
  skipSpace(cursor);
  const operator = OPERATORS.find((each) => cursor.text.startsWith(each, cursor.at));
  if (operator === undefined) {
    expect(cursor, ")");
    return { kind: "filter", left };
  }
  cursor.at += operator.length;
  const right = parseOperand(cursor);
  skipSpace(cursor);
  expect(cursor, ")");
  return { kind: "filter", left, test: { operator, right } };
}

function parseOperand(cursor: Cursor): Operand {
  skipSpace(cursor);
  const next = cursor.text[cursor.at] ?? "";
  if (next === "'" || next === '"') return { kind: "value", value: parseQuoted(cursor) };
  if (/[@$.]/.test(next)) return { kind: "path", steps: parsePath(cursor) };
  const [literal] = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?|true|false|null)\b/.exec(rest(cursor)) ?? [];
  if (literal === undefined)
    throw new TemplateError("expected a path, a number, true, false, null or quoted text", cursor.at);
  cursor.at += literal.length;
  return { kind: "value", value: JSON.parse(literal) as number | boolean | null };
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

function parseQuoted(cursor: Cursor): string {
  const start = cursor.at;
  const quote = cursor.text[start];
  let value = "";
  for (cursor.at += 1; cursor.at < cursor.text.length; cursor.at += 1) {
    const character = cursor.text[cursor.at] as string;
    if (character === quote) {
      cursor.at += 1;
      return value;
    }
    if (character !== "\\") {
      value += character;
      continue;
    }
    cursor.at += 1;
    const escaped = cursor.text[cursor.at] ?? "";
    value += ESCAPES[escaped] ?? escaped;
  }
  throw new TemplateError("the quote is never closed", start);
}
