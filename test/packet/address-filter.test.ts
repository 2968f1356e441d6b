// address_filter: the Bloom filter that avoids lookups for unknown peers follows the entries of `addresses`. Needs root.

import { afterAll, beforeAll, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { bloomBitOf } from "../../src/datapath/bloom-filter.ts";
import { ADDRESS_FILTER_BITS } from "../../src/gen/layout.ts";
import { address, pods } from "../support/model.ts";
import { openWorld, V4, V6, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await openWorld();
  // An address has an entry only if a rule distinguishes it.
  await world.enforce([{ peers: [pods({ name: "in" }), pods({ name: "both" })], ports: "all" }]);
});
afterAll(() => world?.close());

const places = async (): Promise<Set<number>> => {
  const words = await world.bench.maps.tables.addressFilter.read();
  const set = new Set<number>();
  for (const [index, { word }] of words)
    for (let bit = 0; bit < 64; bit += 1) if ((word >> BigInt(bit)) & 1n) set.add(index * 64 + bit);
  return set;
};
const held = async (): Promise<Set<number>> => {
  const { state } = await world.bench.maps.read();
  return new Set([...state.addresses.keys()].map((text) => bloomBitOf(address(text))));
};

it("has the bits of all addresses in the table", async () => {
  const wanted = await held();
  expect(wanted.size).toBeGreaterThan(0);
  expect(await places()).toEqual(wanted);
});

it("clears the remaining bits of removed addresses with the next snapshot", async () => {
  const stranger = address("203.0.113.77");
  const table = world.bench.maps.tables.addressFilter;
  const index = Math.floor(bloomBitOf(stranger) / 64);
  const before = present(table.get(index), "a word").word;
  table.set(index, { word: before | (1n << BigInt(bloomBitOf(stranger) % 64)) });
  await world.bench.maps.read();
  expect(table.get(index)?.word).toBe(before);
});

it("restores bits that were cleared externally with the next snapshot", async () => {
  const wanted = await held();
  const table = world.bench.maps.tables.addressFilter;
  for (const place of wanted) table.set(Math.floor(place / 64), { word: 0n });
  expect(await places()).toEqual(new Set());
  await world.bench.maps.read();
  expect(await places()).toEqual(wanted);
});

it("spreads the addresses of one subnet, of either family", () => {
  for (const prefix of ["10.1.2.", "fd00:1:2:3::"]) {
    const subnet = Array.from({ length: 200 }, (_, i) => bloomBitOf(address(`${prefix}${i + 1}`)));
    expect(new Set(subnet).size).toBeGreaterThan(190);
    for (const place of subnet) expect(place).toBeLessThan(2 ** ADDRESS_FILTER_BITS);
  }
  expect(bloomBitOf(V4.pods.both)).not.toBe(bloomBitOf(V6.pods.both));
});
