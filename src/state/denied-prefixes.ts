// The number of each denied prefix, which is the index of its counter.

/** The counter shared by prefixes without a counter of their own. */
export const NUMBER_SHARED = 0;

/** The number of counters, including the shared one: max_entries of denied_counts in bpf/maps.h; the loader checks this. */
export const DENIED_COUNTERS = 16_384;

/** The maximum number of prefixes in a list, both families together. */
export const DENIED_MAX = 262_144;

export interface Numbered {
  /** Prefix (canonical text) to number, in the order given. */
  readonly numbers: ReadonlyMap<string, number>;
  /** Numbers that now belong to another prefix, so that their counters must begin at 0. */
  readonly fresh: readonly number[];
}

/**
 * Numbers the prefixes of a new list. A prefix that was in the old list keeps its number, so that its counter continues. No
 * number of the old list gets a new meaning in the new one. If no number is free, the shared one is used.
 */
export function numberDenied(
  before: ReadonlyMap<string, number>,
  prefixes: readonly string[],
  counters = DENIED_COUNTERS,
): Numbered {
  const taken = new Set(before.values());
  const numbers = new Map<string, number>();
  const fresh: number[] = [];
  let next = NUMBER_SHARED + 1;
  for (const prefix of new Set(prefixes)) {
    const known = before.get(prefix);
    if (known !== undefined && known !== NUMBER_SHARED) {
      numbers.set(prefix, known);
      continue;
    }
    while (taken.has(next)) next += 1;
    const number = next < counters ? next : NUMBER_SHARED;
    numbers.set(prefix, number);
    if (number === NUMBER_SHARED) continue;
    fresh.push(number);
    next += 1;
  }
  return { numbers, fresh };
}

/** Whether both lists hold the same prefixes. */
export function isSameList(before: ReadonlyMap<string, number>, prefixes: readonly string[]): boolean {
  const wanted = new Set(prefixes);
  return wanted.size === before.size && [...wanted].every((prefix) => before.has(prefix));
}
