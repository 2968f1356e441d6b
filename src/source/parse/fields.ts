// Reading untrusted values field by field, with issues by path and text that is safe to print.

import type { WarningCode } from "../../model/problem.ts";

/** A value with the path to it, and the collection that its issues go to. */
export interface Field {
  readonly value: unknown;
  readonly path: FieldPath;
  readonly issues: Issues;
  /**
   * Whether null counts as missing, as it does in the API server. In a policy it does not: an empty `from:` or
   * `matchLabels:` is most often an unfinished or half-written file, and reading it as "everyone" would open the pod.
   */
  readonly nullIsMissing: boolean;
  /** The effect of issues noted here and below. */
  readonly effect?: string;
}

/** The fields of a map that have a value. */
export type Fields = ReadonlyMap<string, Field>;

export function note(field: Field, reason: string, severity: Issue["severity"] = "error"): void {
  const { path, effect } = field;
  field.issues.add({ path, reason, severity, ...(effect === undefined ? {} : { effect }) });
}

/** Notes what is valid in a manifest, and yet most likely a mistake. */
export function warn(
  field: Field,
  reason: string,
  { code, fix }: { readonly code: WarningCode; readonly fix: string },
): void {
  const { path, effect } = field;
  const end = effect === undefined ? {} : { effect };
  field.issues.add({ path, reason, severity: "warning", code, fix, ...end });
}

/** The field under `key`, whether it has a value or not (issues may be about a missing one). */
export function child(field: Field, key: string | number, value?: unknown): Field {
  const { issues, nullIsMissing, effect } = field;
  const path = [...field.path, key];
  // Written out: a large cluster has millions of fields, and a copy of any object takes several times as long.
  return effect === undefined
    ? { value, path, issues, nullIsMissing }
    : { value, path, issues, nullIsMissing, effect };
}

/**
 * The fields of a map, or undefined (and an issue) where the value is not a map. With `known`, every other key is an
 * issue, which names the first `shown` known ones (all by default) as what was expected.
 */
export function fieldsOf(field: Field, known?: readonly string[], shown?: number): Fields | undefined {
  const { value } = field;
  if (!isMap(value)) {
    const expected = known === undefined ? "" : ` (${known.slice(0, shown).join(", ")})`;
    note(field, `must be a map${expected}, not ${kindOf(value)}`);
    return undefined;
  }
  if (known !== undefined)
    for (const key of Object.keys(value))
      if (!known.includes(key))
        note(child(field, key), `unknown field; expected ${listText(known.slice(0, shown), "or")}`);
  return new FieldsOfMap(field, value, known);
}

/** Makes each field when it is asked for: of most maps only a few are. */
class FieldsOfMap implements Fields {
  readonly #of: Field;
  readonly #value: Record<string, unknown>;
  readonly #known: readonly string[] | undefined;

  constructor(of: Field, value: Record<string, unknown>, known: readonly string[] | undefined) {
    this.#of = of;
    this.#value = value;
    this.#known = known;
  }

  has(key: string): boolean {
    if (!Object.hasOwn(this.#value, key) || this.#known?.includes(key) === false) return false;
    const item = this.#value[key];
    return item !== undefined && !(item === null && this.#of.nullIsMissing);
  }

  get(key: string): Field | undefined {
    return this.has(key) ? child(this.#of, key, this.#value[key]) : undefined;
  }

  get size(): number {
    return [...this.keys()].length;
  }

  *keys(): MapIterator<string> {
    for (const key of Object.keys(this.#value)) if (this.has(key)) yield key;
  }

  *values(): MapIterator<Field> {
    for (const key of this.keys()) yield child(this.#of, key, this.#value[key]);
  }

  *entries(): MapIterator<[string, Field]> {
    for (const key of this.keys()) yield [key, child(this.#of, key, this.#value[key])];
  }

  [Symbol.iterator](): MapIterator<[string, Field]> {
    return this.entries();
  }

  forEach(use: (value: Field, key: string, map: Fields) => void): void {
    for (const [key, field] of this) use(field, key, this);
  }
}

/** The field under `key`, with what is done where it cannot be read. */
export function at(fields: Fields, key: string, effect: string): Field | undefined {
  const field = fields.get(key);
  if (field === undefined) return undefined;
  const { value, path, issues, nullIsMissing } = field;
  return { value, path, issues, nullIsMissing, effect };
}

/** The fields of the map under `key`, none where it is missing or not a map. */
export function mapAt(fields: Fields, key: string, effect: string): Fields {
  const field = at(fields, key, effect);
  return (field && fieldsOf(field)) ?? new Map();
}

export function itemsOf(field: Field): readonly Field[] | undefined {
  if (Array.isArray(field.value)) return field.value.map((item: unknown, index) => child(field, index, item));
  note(field, `must be a list, not ${kindOf(field.value)}`);
  return undefined;
}

export function stringOf(field: Field): string | undefined {
  if (typeof field.value === "string") return field.value;
  const quotable = typeof field.value === "number" || typeof field.value === "boolean";
  note(field, `must be a string, not ${kindOf(field.value)}${quotable ? " (quote it)" : ""}`);
  return undefined;
}

/** A string that `check` accepts: it returns what was expected, or undefined where nothing is wrong. */
export function checkedStringOf(
  field: Field,
  check: (text: string) => string | undefined,
): string | undefined {
  const text = stringOf(field);
  const expected = text === undefined ? undefined : check(text);
  if (text === undefined || expected === undefined) return text;
  note(field, `${quote(text)} is not ${expected}`);
  return undefined;
}

export function booleanOf(field: Field): boolean | undefined {
  if (typeof field.value === "boolean") return field.value;
  note(field, `must be true or false, not ${kindOf(field.value)}`);
  return undefined;
}

export const startsWith = (path: FieldPath, start: FieldPath): boolean =>
  start.every((segment, index) => path[index] === segment);

export function isMap(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** The value at the path, null included; undefined where there is nothing. */
export function valueAt(value: unknown, path: FieldPath): unknown {
  let at = value;
  for (const segment of path) {
    if (typeof segment === "number") at = Array.isArray(at) ? at[segment] : undefined;
    else at = isMap(at) ? at[segment] : undefined;
  }
  return at;
}

/** What a value is, as in "must be a map, not a list". */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "null (no value)";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  return `a ${typeof value}`;
}

/** The path as in `spec.ingress[0].from[1].ipBlock.cidr`; keys that are not a plain word are in brackets and quotes. */
export function pathText(path: FieldPath): string {
  const text = path.map((segment) => {
    if (typeof segment === "number") return `[${segment}]`;
    return /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/.test(segment) ? `.${segment}` : `[${quote(segment)}]`;
  });
  return printable(text.join("").replace(/^\./, ""));
}

/** "a, b or c". */
export function listText(words: readonly string[], conjunction: "and" | "or"): string {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} ${conjunction} ${words[words.length - 1]}`;
}

// What is wrong with one object, by path: at most one issue for a path, and quick answers to "is there an error in there?".

/** From the document's root; a string is a map's key, a number an index in a list. */
export type FieldPath = readonly (string | number)[];

/** The position of a field; line and column count from 1. */
export interface Place {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
}

export interface Issue {
  readonly path: FieldPath;
  readonly reason: string;
  readonly severity: "error" | "warning";
  /** What is done about it, where that is not the same for the whole object. */
  readonly effect?: string;
  /** Of a warning. */
  readonly code?: WarningCode;
  /** What to write instead, where that is known. */
  readonly fix?: string;
  /** Its position, if that is not where the path leads. */
  readonly place?: Place;
}

/** Issues that are kept; of further ones only how many and where errors are. An object of a megabyte can have 100,000. */
const KEPT_MAX = 1_000;

interface Found {
  readonly kept: Map<string, Issue>;
  readonly paths: Set<string>;
  /** Paths of errors, and all paths above them. */
  readonly errorsIn: Set<string>;
  /** By the path of a map or list: its fields or elements that are errors themselves. */
  readonly errorsRightBelow: Map<string, Set<string | number>>;
  readonly errorsAt: Set<string>;
}

const nothingFound = (): Found => ({
  kept: new Map(),
  paths: new Set(),
  errorsIn: new Set(),
  errorsRightBelow: new Map(),
  errorsAt: new Set(),
});

/** The first issue about a path stays: what follows from it would only repeat it. Most objects have none, and need no tables. */
export class Issues implements Iterable<Issue> {
  #found: Found | undefined;
  #size = 0;

  constructor(issues: Iterable<Issue> = []) {
    for (const issue of issues) this.add(issue);
  }

  add(issue: Issue): void {
    this.#found ??= nothingFound();
    const { kept, paths, errorsAt } = this.#found;
    const key = keyOf(issue.path);
    if (paths.has(key)) return;
    paths.add(key);
    this.#size += 1;
    if (kept.size < KEPT_MAX) kept.set(key, issue);
    if (issue.severity !== "error") return;
    errorsAt.add(key);
    markError(this.#found, issue.path);
  }

  /** Those that are kept, in the order in which they were noted. */
  [Symbol.iterator](): Iterator<Issue> {
    return (this.#found?.kept ?? NO_ISSUES).values();
  }

  /** All of them, those that are not kept included. */
  get size(): number {
    return this.#size;
  }

  has(path: FieldPath): boolean {
    return this.#found?.paths.has(keyOf(path)) ?? false;
  }

  /** Adds to the issue about a path what to write instead, if there is one. */
  advise(path: FieldPath, fix: string): void {
    const key = keyOf(path);
    const issue = this.#found?.kept.get(key);
    if (issue !== undefined) this.#found?.kept.set(key, { ...issue, fix });
  }

  /** How many of them are errors. */
  get errors(): number {
    return this.#found?.errorsAt.size ?? 0;
  }

  /** Whether there is an error about what is at the path itself. */
  hasErrorAt(path: FieldPath): boolean {
    return this.#found?.errorsAt.has(keyOf(path)) ?? false;
  }

  /** Whether there is an error at the path or anywhere below it. */
  hasErrorIn(path: FieldPath): boolean {
    return this.#found?.errorsIn.has(keyOf(path)) ?? false;
  }

  /** The fields of a map (or elements of a list) that are errors themselves: unknown, missing, of a wrong type. */
  errorsRightBelow(path: FieldPath): ReadonlySet<string | number> {
    return this.#found?.errorsRightBelow.get(keyOf(path)) ?? NONE;
  }
}

function markError({ errorsIn, errorsRightBelow }: Found, path: FieldPath): void {
  let key = keyOf([]);
  errorsIn.add(key);
  for (const [index, segment] of path.entries()) {
    if (index === path.length - 1) {
      const segments = errorsRightBelow.get(key) ?? new Set();
      errorsRightBelow.set(key, segments.add(segment));
    }
    key = belowKey(key, segment);
    errorsIn.add(key);
  }
}

const NO_ISSUES: ReadonlyMap<string, Issue> = new Map();
const NONE: ReadonlySet<string | number> = new Set();
const ROOT = "";
const belowKey = (key: string, segment: string | number): string =>
  typeof segment === "number" ? `${key}\n#${segment}` : `${key}\n.${segment.replaceAll("\n", "\n\n")}`;
const keyOf = (path: FieldPath): string => path.reduce<string>(belowKey, ROOT);

// Untrusted text made fit for a message: one line of printable ASCII that a terminal shows as it is.

const QUOTED_MAX = 80;

/** The text in quotes, cut where it is long. */
export function quote(text: string): string {
  const cut = text.length > QUOTED_MAX;
  const shown = printable(cut ? text.slice(0, QUOTED_MAX) : text).replaceAll('"', '\\"');
  return `"${shown}"${cut ? "..." : ""}`;
}

/** Everything but printable ASCII escaped: control characters, line ends, look-alikes, bidirectional marks. */
export const printable = (text: string): string =>
  text.replaceAll(/[^\x20-\x7e]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);

/** A file's name: as it is, but for control characters and line ends. */
export const visible = (text: string): string =>
  text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
