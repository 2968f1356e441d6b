// Bloom filter address_filter: a bit for each hash of an address that the datapath looks up exactly, with the hash of bpf/policy.h.

import { addressHash, type FilterWords, hashBit } from "../base/address-filter.ts";
import type { Address } from "../base/ip.ts";
import { ADDRESS_FILTER_BITS, CLOSED_FILTER_BITS } from "../gen/layout.ts";
import type { Tables } from "./typed-maps.ts";

const WORD_BITS = 64;
/** A bit covers as many of closed_filter, whose index begins with the same bits of the hash. */
const CLOSED_BITS_EACH = 2 ** (CLOSED_FILTER_BITS - ADDRESS_FILTER_BITS);

export const bloomBitOf = (address: Address): number => hashBit(addressHash(address), ADDRESS_FILTER_BITS);

type Words = Map<number, bigint>;

function wordsOf(addresses: Iterable<Address>, closed: FilterWords): Words {
  const words: Words = new Map();
  const add = (place: number): void => {
    const index = Math.floor(place / WORD_BITS);
    words.set(index, (words.get(index) ?? 0n) | (1n << BigInt(place % WORD_BITS)));
  };
  for (const address of addresses) add(bloomBitOf(address));
  for (const [at, word] of closed.entries()) if (word !== 0) add(Math.floor((at * 32) / CLOSED_BITS_EACH));
  return words;
}

/** Sets the bits of addresses, and of those in closed_filter, that are about to be written; others stay. Errors: OperationError. */
export async function addToBloomFilter(
  { addressFilter }: Tables,
  addresses: readonly Address[],
  closed: FilterWords,
): Promise<void> {
  const missing: [number, { readonly word: bigint }][] = [];
  for (const [index, wanted] of wordsOf(addresses, closed)) {
    const word = addressFilter.get(index)?.word ?? 0n;
    if ((word | wanted) !== word) missing.push([index, { word: word | wanted }]);
  }
  await addressFilter.writeBatch(missing);
}

/**
 * Makes the bits match the addresses in the maps: clears bits of removed addresses, which only cost time, and sets bits that
 * were cleared externally. Nothing else may write addresses meanwhile. Errors: OperationError.
 */
export async function settleBloomFilter(
  { addressFilter }: Tables,
  held: Iterable<Address>,
  closed: FilterWords,
): Promise<void> {
  const words = wordsOf(held, closed);
  const wrong = (await addressFilter.read())
    .map(([index, { word }]) => [index, { word: words.get(index) ?? 0n }, word] as const)
    .filter(([, { word: wanted }, word]) => wanted !== word);
  await addressFilter.writeBatch(wrong.map(([index, value]) => [index, value]));
}
