// Bloom filter frontend_filter: a bit for each hash of an address that a Service has, or has had since the node's start. The kernel's conntrack
// goes on with the connections of a Service that is gone, so no bit is ever cleared: bpf/backend.h.

import { existsSync } from "node:fs";
import { BpfMap } from "bpf-ts";
import { hashBit } from "../base/address-filter.ts";
import { FRONTEND_FILTER_BITS, FRONTEND_FILTER_WORDS } from "../gen/layout.ts";
import { otherLayouts, otherMapPath } from "./pins.ts";
import type { Tables } from "./typed-maps.ts";

const NAME = "frontend_filter";
const WORD_BITS = 64;
const WORDS = 2 ** FRONTEND_FILTER_BITS / WORD_BITS;
const WORD_BYTES = 8;

/** The index of the bit of an address with this hash: 0 to 2^FRONTEND_FILTER_BITS - 1. */
export const frontendBitOf = (hash: number): number => hashBit(hash, FRONTEND_FILTER_BITS);

export interface FrontendFilter {
  /** Sets the bits of addresses with these hashes. Returns whether one was not set before. Errors: OperationError. */
  add(hashes: Iterable<number>): Promise<boolean>;
  /** Sets bits again that were cleared externally since this process has seen them. Errors: OperationError. */
  settle(): Promise<void>;
  /** Takes over the bits of maps of other layouts. Errors: OperationError, BpfError. */
  carryOver(root: string): Promise<void>;
}

export function openFrontendFilter({
  frontendFilter: table,
}: Pick<Tables, "frontendFilter">): FrontendFilter {
  /** What the kernel has had at any time; undefined before it was read. */
  let known: BigUint64Array | undefined;
  /** Elements that lack something. */
  const missing = new Set<number>();

  function setBits(words: BigUint64Array, place: number, bits: bigint): void {
    const all = (words[place] ?? 0n) | bits;
    if (all !== words[place]) missing.add(Math.floor(place / FRONTEND_FILTER_WORDS));
    words[place] = all;
  }

  async function writeMissing(): Promise<void> {
    const entries = [...missing].map((element) => {
      const first = element * FRONTEND_FILTER_WORDS;
      return [
        element,
        { words: [...(known?.subarray(first, first + FRONTEND_FILTER_WORDS) ?? [])] },
      ] as const;
    });
    if (entries.length > 0) await table.writeBatch(entries);
    missing.clear();
  }

  /** Compares what should be there with the kernel. */
  async function read(words: BigUint64Array): Promise<BigUint64Array> {
    for (const [element, held] of await table.read())
      for (const [at, word] of held.words.entries()) {
        const place = element * FRONTEND_FILTER_WORDS + at;
        const all = (words[place] ?? 0n) | word;
        if (all !== word) missing.add(element);
        words[place] = all;
      }
    known = words;
    return words;
  }

  const wordsNow = async (): Promise<BigUint64Array> => known ?? (await read(new BigUint64Array(WORDS)));

  return {
    async add(hashes) {
      const words = await wordsNow();
      for (const hash of hashes) {
        const bit = frontendBitOf(hash);
        setBits(words, Math.floor(bit / WORD_BITS), 1n << BigInt(bit % WORD_BITS));
      }
      const isNew = missing.size > 0;
      await writeMissing();
      return isNew;
    },
    async settle() {
      await read(await wordsNow());
      await writeMissing();
    },
    async carryOver(root) {
      const words = await wordsNow();
      for (const layout of otherLayouts(root)) {
        const path = otherMapPath(root, layout, NAME);
        if (!existsSync(path)) continue;
        for (const [place, word] of (await readWords(path)).entries()) setBits(words, place, word);
      }
      await writeMissing();
    },
  };
}

/** The words of a pinned filter. One of another size has another hash: any address may be in it. Errors: BpfError. */
async function readWords(path: string): Promise<BigUint64Array> {
  using map = BpfMap.openPinned(path);
  const { valueSize, maxEntries } = map.info;
  if (valueSize * maxEntries !== WORDS * WORD_BYTES) return new BigUint64Array(WORDS).fill(-1n);
  const { count, keys, values } = await map.entries();
  const words = new BigUint64Array(WORDS);
  for (let at = 0; at < count; at += 1) {
    const first = (keys.readUInt32LE(at * map.info.keySize) * valueSize) / WORD_BYTES;
    for (let word = 0; word < valueSize / WORD_BYTES; word += 1)
      words[first + word] = values.readBigUInt64LE(at * map.info.lookupSize + word * WORD_BYTES);
  }
  return words;
}
