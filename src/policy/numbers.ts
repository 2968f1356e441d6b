// Numbers for things that are told apart by their content: the same content keeps its number, and no number gets a new
// meaning while a map or a packet in flight may still know the old one.

import { LIMITS, LimitError, type LimitName } from "../state/state.ts";

/** Content (canonical text) to number. */
export type Numbers = ReadonlyMap<string, number>;

/** Everything numbered, as the state in force has it. Pass it to the next compile. */
export interface Numbering {
  readonly identities: Numbers;
  readonly policies: Numbers;
  readonly rows: Numbers;
  readonly classes: Numbers;
  readonly endpoints: Numbers;
  /** Terms are numbered in memory only and never again: other contents are written in their numbers. */
  readonly terms: Numbers;
  readonly nextTerm: number;
  /** Numbers that the kernel may still hold with a meaning not known here: left by another agent or a failed apply. */
  readonly reserved: Reserved;
}

export type Reserved = { readonly [table in NumberedTable]: ReadonlySet<number> };

export type NumberedTable = "identities" | "policies" | "rows" | "classes" | "endpoints";

/** The lowest number that each table gives out; lower ones have a fixed meaning (state/state.ts). */
const FIRST: { readonly [table in NumberedTable]: number } = {
  identities: 1,
  policies: 1,
  rows: 3,
  classes: 1,
  endpoints: 1,
};

const NONE: ReadonlySet<number> = new Set();

export const NOTHING_RESERVED: Reserved = {
  identities: NONE,
  policies: NONE,
  rows: NONE,
  classes: NONE,
  endpoints: NONE,
};

export const NOTHING_NUMBERED: Numbering = {
  identities: new Map(),
  policies: new Map(),
  rows: new Map(),
  classes: new Map(),
  endpoints: new Map(),
  terms: new Map(),
  nextTerm: 1,
  reserved: NOTHING_RESERVED,
};

/** What endpoints are numbered by: one keeps its number, and its counters, while interface and addresses stay the same. */
export const endpointKey = (ifindex: number, addresses: readonly string[]): string =>
  `${ifindex} ${addresses.join(",")}`;

/**
 * Numbers for these contents: the one that a content had, else the lowest that is neither in use before nor reserved. A
 * number that was in use before and is not any more becomes free only in the assignment after this one.
 * Throws LimitError where they do not fit.
 */
export function assign(
  table: NumberedTable,
  contents: Iterable<string>,
  previous: Numbering,
): Map<string, number> {
  const before = previous[table];
  const taken = new Set([...before.values(), ...previous.reserved[table]]);
  const numbers = new Map<string, number>();
  const fresh: string[] = [];
  for (const content of contents) {
    if (numbers.has(content)) continue;
    const number = before.get(content);
    if (number === undefined) fresh.push(content);
    numbers.set(content, number ?? 0);
  }
  let next = FIRST[table];
  for (const content of fresh.sort()) {
    while (taken.has(next)) next += 1;
    numbers.set(content, next);
    taken.add(next);
  }
  const highest = FIRST[table] + LIMITS[table as LimitName] - 1;
  if (numbers.size > LIMITS[table as LimitName] || next > highest) {
    throw new LimitError(table, Math.max(numbers.size, next - FIRST[table] + 1));
  }
  return numbers;
}
