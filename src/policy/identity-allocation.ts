// Numbers for things that are identified by their content: the same content keeps its number, and no number gets a new
// meaning while a map or a packet in flight may still use the old one.

import { assert } from "../base/assert.ts";
import { changesBetween, patched, versionOf } from "../base/versioned-map.ts";
import { NUMBERS } from "../state/desired-state.ts";
import { type Incarnations, NO_INCARNATIONS } from "./pod-incarnations.ts";

/** Content (canonical text) to number. */
export type Numbers = ReadonlyMap<string, number>;

/** All numbers of the applied state. Pass it to the next compile. */
export interface Numbering {
  readonly identities: Numbers;
  readonly policies: Numbers;
  readonly rows: Numbers;
  readonly classes: Numbers;
  readonly endpoints: Numbers;
  readonly incarnations: Incarnations;
  /** Terms are numbered in memory only, and their numbers are never reused: other contents contain them. */
  readonly terms: Numbers;
  readonly nextTerm: number;
  /** Numbers that the kernel may still hold with an unknown meaning: left by another agent or a failed apply. */
  readonly reserved: Reserved;
}

export type Reserved = { readonly [table in NumberedTable]: ReadonlySet<number> };

export type NumberedTable = "identities" | "policies" | "rows" | "classes" | "endpoints";

/** The lowest number that each table assigns; lower ones have a fixed meaning (state/desired-state.ts). */
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
  incarnations: NO_INCARNATIONS,
  terms: new Map(),
  nextTerm: 1,
  reserved: NOTHING_RESERVED,
};

/** The content that numbers an endpoint: it keeps its number, and its counters, while interface and addresses stay the same. */
export const endpointKey = (ifindex: number, addresses: readonly string[]): string =>
  `${ifindex} ${addresses.join(",")}`;

/** How many numbers a table has for contents, without those that only the previous state needs. */
export function roomIn(
  table: NumberedTable,
  contents: ReadonlyMap<string, unknown>,
  previous: Numbering,
): { readonly numbers: number; readonly suffices: boolean } {
  const before = previous[table];
  const reserved = previous.reserved[table];
  if (before.size + reserved.size + contents.size <= NUMBERS[table])
    return { numbers: NUMBERS[table], suffices: true };
  const taken = new Set([...before.values(), ...reserved].filter((number) => number >= FIRST[table]));
  let kept = 0;
  for (const content of contents.keys()) if (before.has(content)) kept += 1;
  const numbers = NUMBERS[table] - (taken.size - kept);
  return { numbers, suffices: contents.size <= numbers };
}

/**
 * Numbers for these contents: the one that a content had, else the lowest that was neither in use before nor reserved. A
 * number that falls out of use becomes free only in the next assignment. Endpoints' numbers decide only which counters
 * are theirs, so endpoints take over numbers of removed endpoints if no others are free.
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
  const highest = FIRST[table] + NUMBERS[table] - 1;
  const kept = new Set(numbers.values());
  let next = FIRST[table];
  for (const content of fresh.sort()) {
    while (taken.has(next)) next += 1;
    if (next > highest && table === "endpoints") {
      taken.clear();
      for (const number of kept) taken.add(number);
      next = FIRST[table];
      while (taken.has(next)) next += 1;
    }
    assert(next <= highest, `numbers for ${table}: ${numbers.size} are wanted`);
    numbers.set(content, next);
    taken.add(next);
    kept.add(next);
  }
  return numbers;
}

/**
 * The same for the keys of maps: as long as the numbering before is the result of the last call, in the time of the keys that have come
 * or gone.
 */
export function openAssignment(
  table: NumberedTable,
): (contents: readonly ReadonlyMap<string, unknown>[], previous: Numbering) => Numbers {
  let last:
    | { readonly contents: readonly ReadonlyMap<string, unknown>[]; readonly numbers: Numbers }
    | undefined;
  /** Numbers below `next` that nothing uses. */
  let free = new Set<number>();
  let next = FIRST[table];
  const restart = (contents: readonly ReadonlyMap<string, unknown>[], previous: Numbering): Numbers => {
    const numbers = assign(
      table,
      contents.flatMap((each) => [...each.keys()]),
      previous,
    );
    const used = new Set(numbers.values());
    next = used.values().reduce((highest, number) => Math.max(highest, number + 1), FIRST[table]);
    free = new Set();
    for (let number = FIRST[table]; number < next; number += 1) if (!used.has(number)) free.add(number);
    return versionOf(numbers);
  };
  return (contents, previous) => {
    const before = previous[table];
    if (last === undefined || before !== last.numbers || previous.reserved[table].size > 0) {
      last = { contents, numbers: restart(contents, previous) };
      return last.numbers;
    }
    const known = last;
    const keys = new Set(
      contents.flatMap((each, index) => [
        ...changesBetween<string, unknown>(known.contents[index] ?? new Map(), each).map(({ key }) => key),
      ]),
    );
    const isThere = (key: string): boolean => contents.some((each) => each.has(key));
    const patch = new Map<string, number | undefined>();
    const lowest = [...free].sort((a, b) => a - b);
    let taken = 0;
    for (const key of [...keys].filter((each) => isThere(each) && !before.has(each)).sort()) {
      const number = lowest[taken] ?? next;
      if (taken < lowest.length) free.delete(number);
      else next += 1;
      taken += 1;
      assert(number < FIRST[table] + NUMBERS[table], `numbers for ${table}: more are wanted`);
      patch.set(key, number);
    }
    for (const key of keys) {
      const number = before.get(key);
      if (number === undefined || isThere(key)) continue;
      patch.set(key, undefined);
      free.add(number);
    }
    last = { contents, numbers: patched(before, patch) };
    return last.numbers;
  };
}
