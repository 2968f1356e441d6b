// A table of prefixes that answers longest-match questions, as the kernel's LPM trie does.

import { type Address, addressBits, type Cidr, type Family, truncate } from "./ip.ts";

/** Longest match over prefixes that carry a value. */
export interface PrefixTable<T> {
  /** The value of the longest prefix that covers the address (or, with `length`, a prefix of that length), if any. */
  find(family: Family, value: bigint, length?: number): T | undefined;
}

export function prefixTable<T>(entries: Iterable<readonly [Cidr, T]>): PrefixTable<T> {
  const byLength: Record<Family, Map<number, Map<bigint, T>>> = { 4: new Map(), 6: new Map() };
  for (const [cidr, value] of entries) {
    const level = byLength[cidr.family].get(cidr.length) ?? new Map<bigint, T>();
    level.set(cidr.value, value);
    byLength[cidr.family].set(cidr.length, level);
  }
  const lengths = (family: Family) => [...byLength[family].keys()].sort((a, b) => b - a);
  const sorted: Record<Family, number[]> = { 4: lengths(4), 6: lengths(6) };
  return {
    find(family, value, length = addressBits(family)) {
      for (const candidate of sorted[family]) {
        if (candidate > length) continue;
        const level = byLength[family].get(candidate) as Map<bigint, T>;
        const key = truncate(family, value, candidate);
        if (level.has(key)) return level.get(key);
      }
      return undefined;
    },
  };
}

export const findAddress = <T>(table: PrefixTable<T>, address: Address): T | undefined =>
  table.find(address.family, address.value);
