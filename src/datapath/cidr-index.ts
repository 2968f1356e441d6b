// The index over the IPv4 prefixes of cidrs_v4: an array with the identity of each /16 by prefixes no longer than that, and a bit for each
// /24 in which prefixes are longer, so that the trie must be searched. bpf/policy.h says why.

import type { Cidr } from "../base/ip.ts";
import { CIDR_FILTER_BITS, CIDR_FILTER_WORDS, CIDR_INDEX_BITS } from "../gen/layout.ts";
import { cidrOfV4Key } from "./codec.ts";
import type { Tables } from "./typed-maps.ts";

type Pair = readonly [number, number];

const WORD_BITS = 64;
const ELEMENT_BITS = CIDR_FILTER_WORDS * WORD_BITS;
const BLOCKS = 2 ** CIDR_INDEX_BITS;

/** Prefixes of IPv4 up to CIDR_INDEX_BITS, by their text, with the value of their entry in the trie. */
type ShortPrefixes = Map<string, { readonly cidr: Cidr; readonly number: Pair }>;

/** Versions 0 and 1 of each block's identity. */
type Blocks = readonly [Uint32Array, Uint32Array];

const isShort = ({ length }: Cidr): boolean => length <= CIDR_INDEX_BITS;

/** The first index of a prefix among blocks of `bits` bits, and how many blocks it covers: one at least. */
function blocksOf({ value, length }: Cidr, bits: number): { readonly first: number; readonly count: number } {
  return { first: Number(value >> BigInt(32 - bits)), count: 2 ** Math.max(0, bits - length) };
}

/** The longest prefix of each block wins, as in the trie. */
export function paintBlocks(prefixes: Iterable<{ readonly cidr: Cidr; readonly number: Pair }>): Blocks {
  const blocks: Blocks = [new Uint32Array(BLOCKS), new Uint32Array(BLOCKS)];
  for (const { cidr, number } of [...prefixes].sort((a, b) => a.cidr.length - b.cidr.length)) {
    const { first, count } = blocksOf(cidr, CIDR_INDEX_BITS);
    for (const [version, identities] of blocks.entries())
      identities.fill(number[version] ?? 0, first, first + count);
  }
  return blocks;
}

/** The words of cidr_filter_v4 that prefixes set, by index of the element. */
export function filterWords(cidrs: Iterable<Cidr>): Map<number, BigUint64Array> {
  const elements = new Map<number, BigUint64Array>();
  for (const cidr of cidrs) {
    if (isShort(cidr)) continue;
    const { first, count } = blocksOf(cidr, CIDR_FILTER_BITS);
    const element = Math.floor(first / ELEMENT_BITS);
    const words = elements.get(element) ?? new BigUint64Array(CIDR_FILTER_WORDS);
    elements.set(element, words);
    const place = first % ELEMENT_BITS;
    // A prefix is aligned: it is within one word, or fills words.
    const bits = count >= WORD_BITS ? -1n : ((1n << BigInt(count)) - 1n) << BigInt(place % WORD_BITS);
    for (let at = place; at < place + count; at += WORD_BITS) {
      const word = Math.floor(at / WORD_BITS);
      words[word] = (words[word] ?? 0n) | BigInt.asUintN(WORD_BITS, bits);
    }
  }
  return elements;
}

const elementOf = (words: Iterable<bigint>) => ({ words: [...words] });

export interface CidrIndex {
  /** Sets the bits of prefixes that are about to be written to the trie; others stay. Errors: OperationError. */
  prepare(cidrs: readonly Cidr[]): Promise<void>;
  /** Writes the blocks of prefixes that have been written to the trie with these values. Errors: OperationError. */
  update(
    entries: readonly { readonly cidr: Cidr; readonly value: { readonly number: Pair } }[],
  ): Promise<void>;
  /** The same for prefixes that have been removed. Their bits stay, which only costs time. */
  remove(cidrs: readonly Cidr[]): Promise<void>;
  /**
   * Makes both arrays match the trie: clears bits of removed prefixes and repairs external changes. Nothing else may write
   * prefixes meanwhile. Errors: OperationError.
   */
  settle(): Promise<void>;
}

export function openCidrIndex({ cidrsV4, cidrIndexV4, cidrFilterV4 }: Tables): CidrIndex {
  let short: ShortPrefixes = new Map();
  let blocks: Blocks | undefined;

  async function writeBlocks(): Promise<void> {
    const [a, b] = paintBlocks(short.values());
    const before = blocks ?? (await readBlocks());
    const changed: [number, { readonly number: Pair }][] = [];
    for (let block = 0; block < BLOCKS; block += 1) {
      const number = [a[block] ?? 0, b[block] ?? 0] as const;
      if (number[0] !== before[0][block] || number[1] !== before[1][block]) changed.push([block, { number }]);
    }
    // If the write fails half-way, the next one compares with what the kernel has.
    blocks = undefined;
    if (changed.length > 0) await cidrIndexV4.writeBatch(changed);
    blocks = [a, b];
  }

  async function readBlocks(): Promise<Blocks> {
    const found: Blocks = [new Uint32Array(BLOCKS), new Uint32Array(BLOCKS)];
    for (const [block, { number }] of await cidrIndexV4.read({ skipZero: true }))
      for (const [version, identities] of found.entries()) identities[block] = number[version] ?? 0;
    return found;
  }

  return {
    async prepare(cidrs) {
      const missing = [...filterWords(cidrs)].flatMap(([element, wanted]) => {
        const held = cidrFilterV4.get(element)?.words ?? [];
        const words = wanted.map((word, at) => word | (held[at] ?? 0n));
        return words.every((word, at) => word === held[at]) ? [] : [[element, elementOf(words)] as const];
      });
      if (missing.length > 0) await cidrFilterV4.writeBatch(missing);
    },
    async update(entries) {
      const changed = entries.filter(({ cidr }) => isShort(cidr));
      for (const { cidr, value } of changed) short.set(cidr.text, { cidr, number: value.number });
      if (changed.length > 0) await writeBlocks();
    },
    async remove(cidrs) {
      const gone = cidrs.filter(({ text }) => short.delete(text));
      if (gone.length > 0) await writeBlocks();
    },
    async settle() {
      const entries = (await cidrsV4.read()).map(([key, { number }]) => ({ cidr: cidrOfV4Key(key), number }));
      short = new Map(entries.filter(({ cidr }) => isShort(cidr)).map((each) => [each.cidr.text, each]));
      blocks = undefined;
      await writeBlocks();
      const wanted = filterWords(entries.map(({ cidr }) => cidr));
      const none = new BigUint64Array(CIDR_FILTER_WORDS);
      const wrong = (await cidrFilterV4.read()).flatMap(([element, { words }]) => {
        const right = wanted.get(element) ?? none;
        return words.every((word, at) => word === right[at]) ? [] : [[element, elementOf(right)] as const];
      });
      if (wrong.length > 0) await cidrFilterV4.writeBatch(wrong);
    },
  };
}
