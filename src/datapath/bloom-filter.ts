// Bloom filter address_filter: a bit for each hash of an address that the datapath looks up exactly, with the hash of bpf/policy.h.

import type { Address } from "../base/ip.ts";
import { ADDRESS_FILTER_BITS } from "../gen/layout.ts";
import type { Tables } from "./typed-maps.ts";

const WORD_BITS = 64;
const GOLDEN_RATIO = 0x9e37_79b1;
const HALF_BITS = 32n;
const HALF = 0xffff_ffffn;

/** The index of an address's bit among 2^`bits` of them. */
export function hashBitOf({ value }: Address, bits: number): number {
  let words = 0;
  for (let rest = value; rest > 0n; rest >>= HALF_BITS) words ^= Number(rest & HALF);
  return Math.imul(words, GOLDEN_RATIO) >>> (32 - bits);
}

export const bloomBitOf = (address: Address): number => hashBitOf(address, ADDRESS_FILTER_BITS);

type Words = Map<number, bigint>;

function wordsOf(addresses: Iterable<Address>): Words {
  const words: Words = new Map();
  for (const address of addresses) {
    const place = bloomBitOf(address);
    const index = Math.floor(place / WORD_BITS);
    words.set(index, (words.get(index) ?? 0n) | (1n << BigInt(place % WORD_BITS)));
  }
  return words;
}

/** Sets the bits of addresses that are about to be written; others stay. Errors: OperationError. */
export async function addToBloomFilter(
  { addressFilter }: Tables,
  addresses: readonly Address[],
): Promise<void> {
  const missing: [number, { readonly word: bigint }][] = [];
  for (const [index, wanted] of wordsOf(addresses)) {
    const word = addressFilter.get(index)?.word ?? 0n;
    if ((word | wanted) !== word) missing.push([index, { word: word | wanted }]);
  }
  await addressFilter.writeBatch(missing);
}

/**
 * Makes the bits match the addresses in the maps: clears bits of removed addresses, which only cost time, and sets bits that
 * were cleared externally. Nothing else may write addresses meanwhile. Errors: OperationError.
 */
export async function settleBloomFilter({ addressFilter }: Tables, held: Iterable<Address>): Promise<void> {
  const words = wordsOf(held);
  const wrong = (await addressFilter.read())
    .map(([index, { word }]) => [index, { word: words.get(index) ?? 0n }, word] as const)
    .filter(([, { word: wanted }, word]) => wanted !== word);
  await addressFilter.writeBatch(wrong.map(([index, value]) => [index, value]));
}
