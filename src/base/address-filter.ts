// Addresses by a hash of 32 bits, and a Bloom filter of them: what an agent can keep of addresses that tenants may write without number.
// bpf/policy.h has the same hash and the same bits.

import type { Address } from "./ip.ts";

const HALF_BITS = 32n;
const HALF = 0xffff_ffffn;
const GOLDEN_RATIO = 0x9e37_79b1;
const SECOND_FACTOR = 0x85eb_ca6b;
const HASH_BITS = 32;
const WORD_BITS = 32;

/** filter_hash() in bpf/policy.h: an unsigned integer of 32 bits. */
export function addressHash({ value }: Address): number {
  let words = 0;
  for (let rest = value; rest > 0n; rest >>= HALF_BITS) words ^= Number(rest & HALF);
  return Math.imul(words, GOLDEN_RATIO) >>> 0;
}

/** The index of a hash's bit among 2^`bits` of them. */
export const hashBit = (hash: number, bits: number): number => hash >>> (HASH_BITS - bits);

/** CLOSED_FILTER_BITS in bpf/layout.h. */
export const CLOSED_FILTER_BITS = 24;

/** The words of a filter of 2^CLOSED_FILTER_BITS bits, the lowest bit first; none where no bit is set. Never changed. */
export type FilterWords = Uint32Array;

export const NO_WORDS: FilterWords = new Uint32Array(0);
export const CLOSED_FILTER_WORDS = 2 ** CLOSED_FILTER_BITS / WORD_BITS;

/** is_closed() in bpf/policy.h. */
const closedBitsOf = (hash: number): readonly [number, number] => [
  hashBit(hash, CLOSED_FILTER_BITS),
  hashBit(Math.imul(hash, SECOND_FACTOR), CLOSED_FILTER_BITS),
];

/** A filter of the addresses with these hashes. */
export function filterOf(lists: Iterable<Iterable<number>>): FilterWords {
  let words = NO_WORDS;
  for (const hashes of lists)
    for (const hash of hashes) {
      if (words.length === 0) words = new Uint32Array(CLOSED_FILTER_WORDS);
      for (const bit of closedBitsOf(hash)) (words[bit >>> 5] as number) |= 1 << (bit & 31);
    }
  return words;
}

/** Whether a filter has an address: one that was put in, or one of the few others with the same bits. */
export function isInFilter(words: FilterWords, address: Address): boolean {
  if (words.length === 0) return false;
  return closedBitsOf(addressHash(address)).every((bit) => ((words[bit >>> 5] as number) >>> (bit & 31)) & 1);
}

export const sameWords = (a: FilterWords, b: FilterWords): boolean =>
  a === b || (a.length === b.length && a.every((word, at) => word === b[at]));

/** A filter with the bits of both. */
export function unionOf(a: FilterWords, b: FilterWords): FilterWords {
  if (a.length === 0 || sameWords(a, b)) return b;
  if (b.length === 0) return a;
  return a.map((word, at) => word | (b[at] as number));
}

export const bitsIn = (words: FilterWords): number => {
  let bits = 0;
  for (const word of words) for (let rest = word; rest !== 0; rest &= rest - 1) bits += 1;
  return bits;
};
