// frontend_filter: the Bloom filter of addresses that Services have or have had. Needs root.

import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { BpfMap } from "bpf-ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addressHash } from "../../src/base/address-filter.ts";
import { frontendBitOf, openFrontendFilter } from "../../src/datapath/frontend-filter.ts";
import { otherMapPath } from "../../src/datapath/pins.ts";
import { FRONTEND_FILTER_BITS, FRONTEND_FILTER_WORDS, MAPS } from "../../src/gen/layout.ts";
import { address } from "../support/model.ts";
import { openWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await openWorld();
  await world.enforce();
});
afterAll(() => world?.close());

const WORD_BITS = 64;
const table = () => world.bench.maps.tables.frontendFilter;
const filter = () => openFrontendFilter(world.bench.maps.tables);

async function bits(): Promise<Set<number>> {
  const set = new Set<number>();
  for (const [element, { words }] of await table().read())
    for (const [at, word] of words.entries())
      for (let bit = 0; bit < WORD_BITS; bit += 1)
        if ((word >> BigInt(bit)) & 1n) set.add((element * FRONTEND_FILTER_WORDS + at) * WORD_BITS + bit);
  return set;
}
const hash = (text: string): number => addressHash(address(text));
const bitsOf = (...texts: readonly string[]): Set<number> =>
  new Set(texts.map((text) => frontendBitOf(hash(text))));
const NO_WORDS = { words: new Array<bigint>(FRONTEND_FILTER_WORDS).fill(0n) };
const clear = (): Promise<void> =>
  table().writeBatch(Array.from({ length: MAPS.frontend_filter.maxEntries }, (_, at) => [at, NO_WORDS]));

describe("frontend_filter", () => {
  it("has the bits of all addresses that were added, and says whether one is new", async () => {
    await clear();
    const mine = filter();
    expect(await mine.add([hash("10.96.0.1"), hash("fd96::1")])).toBe(true);
    expect(await mine.add([hash("10.96.0.2"), hash("10.96.0.1")])).toBe(true);
    expect(await mine.add([hash("10.96.0.2"), hash("fd96::1")])).toBe(false);
    expect(await bits()).toEqual(bitsOf("10.96.0.1", "fd96::1", "10.96.0.2"));
  });

  it("keeps the bits that an earlier agent has set", async () => {
    await clear();
    await filter().add([hash("10.96.0.1")]);
    const later = filter();
    expect(await later.add([hash("10.96.0.1")])).toBe(false);
    expect(await later.add([hash("10.96.0.2")])).toBe(true);
    expect(await bits()).toEqual(bitsOf("10.96.0.1", "10.96.0.2"));
  });

  it("restores bits that were cleared externally, and keeps those that were set", async () => {
    await clear();
    const mine = filter();
    await mine.add([hash("10.96.0.1"), hash("fd96::1")]);
    await clear();
    await filter().add([hash("10.96.0.3")]);
    await mine.settle();
    expect(await bits()).toEqual(bitsOf("10.96.0.1", "fd96::1", "10.96.0.3"));
  });

  it("spreads the addresses of one range, of either family", () => {
    for (const prefix of ["10.96.2.", "fd96::"]) {
      const range = Array.from({ length: 200 }, (_, at) => frontendBitOf(hash(`${prefix}${at + 1}`)));
      expect(new Set(range).size).toBe(200);
      for (const bit of range) expect(bit).toBeLessThan(2 ** FRONTEND_FILTER_BITS);
    }
  });
});

describe("the filter of another layout", () => {
  const layout = "0123456789abcdef";

  it.each([
    ["of this size: its bits are taken over", MAPS.frontend_filter.maxEntries, 2],
    ["of another size, where the hash is another one: every bit is set", 16, 2 ** FRONTEND_FILTER_BITS],
  ])("%s", async (_, maxEntries, count) => {
    await clear();
    const path = otherMapPath(world.bench.datapath.root, layout, "frontend_filter");
    mkdirSync(dirname(path), { recursive: true });
    try {
      using map = BpfMap.create({ ...MAPS.frontend_filter, maxEntries });
      map.pin(path);
      const bit = frontendBitOf(hash("10.96.0.1"));
      const words = Buffer.alloc(FRONTEND_FILTER_WORDS * 8);
      const at = Math.floor(bit / WORD_BITS) % FRONTEND_FILTER_WORDS;
      words.writeBigUInt64LE(1n << BigInt(bit % WORD_BITS), at * 8);
      const key = Buffer.alloc(4);
      key.writeUInt32LE(Math.floor(bit / WORD_BITS / FRONTEND_FILTER_WORDS) % maxEntries);
      map.update(key, words);
      const mine = filter();
      await mine.add([hash("10.96.0.2")]);
      await mine.carryOver(world.bench.datapath.root);
      expect((await bits()).size).toBe(count);
      expect(bitsOf("10.96.0.1", "10.96.0.2").isSubsetOf(await bits())).toBe(true);
    } finally {
      rmSync(path, { force: true });
    }
  });
});
