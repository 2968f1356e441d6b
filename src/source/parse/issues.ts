// What is wrong with one object, by path: at most one issue for a path, and quick answers to "is there an error in there?".

import type { WarningCode } from "../../model/warnings.ts";

/** From the document's root; a string is a map's key, a number an index in a list. */
export type FieldPath = readonly (string | number)[];

/** Where a field stands; line and column count from 1. */
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
  /** Where it stands, if that is not where the path leads. */
  readonly place?: Place;
}

/** Issues that are kept; of further ones only how many and where errors are. An object of a megabyte can have 100,000. */
const KEPT_MAX = 1_000;

/** The first issue about a path stays: what follows from it would only repeat it. */
export class Issues implements Iterable<Issue> {
  readonly #kept = new Map<string, Issue>();
  readonly #paths = new Set<string>();
  /** Paths of errors, and all paths above them. */
  readonly #errorsIn = new Set<string>();
  /** By the path of a map or list: its fields or elements that are errors themselves. */
  readonly #errorsRightBelow = new Map<string, Set<string | number>>();
  readonly #errorsAt = new Set<string>();
  #size = 0;

  constructor(issues: Iterable<Issue> = []) {
    for (const issue of issues) this.add(issue);
  }

  add(issue: Issue): void {
    const key = keyOf(issue.path);
    if (this.#paths.has(key)) return;
    this.#paths.add(key);
    this.#size += 1;
    if (this.#kept.size < KEPT_MAX) this.#kept.set(key, issue);
    if (issue.severity !== "error") return;
    this.#errorsAt.add(key);
    this.#markError(issue.path);
  }

  #markError(path: FieldPath): void {
    let key = keyOf([]);
    this.#errorsIn.add(key);
    for (const [index, segment] of path.entries()) {
      if (index === path.length - 1) {
        const segments = this.#errorsRightBelow.get(key) ?? new Set();
        this.#errorsRightBelow.set(key, segments.add(segment));
      }
      key = belowKey(key, segment);
      this.#errorsIn.add(key);
    }
  }

  /** Those that are kept, in the order in which they were noted. */
  [Symbol.iterator](): Iterator<Issue> {
    return this.#kept.values();
  }

  /** All of them, those that are not kept included. */
  get size(): number {
    return this.#size;
  }

  has(path: FieldPath): boolean {
    return this.#paths.has(keyOf(path));
  }

  /** Adds to the issue about a path what to write instead, if there is one. */
  advise(path: FieldPath, fix: string): void {
    const key = keyOf(path);
    const issue = this.#kept.get(key);
    if (issue !== undefined) this.#kept.set(key, { ...issue, fix });
  }

  /** How many of them are errors. */
  get errors(): number {
    return this.#errorsAt.size;
  }

  /** Whether there is an error about what is at the path itself. */
  hasErrorAt(path: FieldPath): boolean {
    return this.#errorsAt.has(keyOf(path));
  }

  /** Whether there is an error at the path or anywhere below it. */
  hasErrorIn(path: FieldPath): boolean {
    return this.#errorsIn.has(keyOf(path));
  }

  /** The fields of a map (or elements of a list) that are errors themselves: unknown, missing, of a wrong type. */
  errorsRightBelow(path: FieldPath): ReadonlySet<string | number> {
    return this.#errorsRightBelow.get(keyOf(path)) ?? NONE;
  }
}

const NONE: ReadonlySet<string | number> = new Set();
const ROOT = "";
const belowKey = (key: string, segment: string | number): string =>
  typeof segment === "number" ? `${key}\n#${segment}` : `${key}\n.${segment.replaceAll("\n", "\n\n")}`;
const keyOf = (path: FieldPath): string => path.reduce<string>(belowKey, ROOT);
