// Whole maps and batches, for types with and without batch commands.
import { expect, test } from "vitest";
import { type BpfMap, MapFlag, MapType, possibleCpus, UpdateFlag } from "../lib/index.ts";
import { expectCode, makeMap, u32, u64 } from "./support.ts";

const kinds = [
  ["HASH", MapType.HASH, 0],
  ["HASH, not preallocated", MapType.HASH, MapFlag.NO_PREALLOC],
  ["LRU_HASH", MapType.LRU_HASH, 0],
  ["PERCPU_HASH", MapType.PERCPU_HASH, 0],
  ["LRU_PERCPU_HASH", MapType.LRU_PERCPU_HASH, 0],
  ["LPM_TRIE", MapType.LPM_TRIE, MapFlag.NO_PREALLOC],
] as const;

/** `count` keys of 8 bytes, good as trie prefixes too. */
function keysOf(count: number, from = 0): Buffer {
  const keys = Buffer.alloc(count * 8);
  for (let i = 0; i < count; i++) {
    keys.writeUInt32LE(32, i * 8);
    keys.writeUInt32BE(from + i, i * 8 + 4);
  }
  return keys;
}

/** The map's elements as `number in the key → first word of the value`. */
async function contents(map: BpfMap): Promise<Map<number, number>> {
  const { count, keys, values } = await map.entries();
  const { keySize, lookupSize } = map.info;
  expect(keys).toHaveLength(count * keySize);
  expect(values).toHaveLength(count * lookupSize);
  return new Map(
    Array.from({ length: count }, (_, i) => [
      keys.readUInt32BE(i * keySize + 4),
      values.readUInt32LE(i * lookupSize),
    ]),
  );
}

test.each(kinds)("%s: batches go in, come out and are deleted", async (_name, type, flags) => {
  const count = 3000;
  const map = makeMap({ type, flags, keySize: 8, maxEntries: 20_000 });
  const values = Buffer.alloc(count * map.info.lookupSize);
  for (let i = 0; i < count; i++) values.writeUInt32LE(i + 7, i * map.info.lookupSize);
  await map.updateBatch(keysOf(count), values, count);
  const found = await contents(map);
  expect(found.size).toBe(count);
  for (let i = 0; i < count; i += 17) expect(found.get(i)).toBe(i + 7);

  // Of 30 keys 20 are there: the absent ones lie at both ends.
  expect(await map.deleteBatch(Buffer.concat([keysOf(5, 900_000), keysOf(20), keysOf(5, 800_000)]), 30)).toBe(
    20,
  );
  expect((await contents(map)).size).toBe(count - 20);
  expect(await map.deleteBatch(keysOf(count), count)).toBe(count - 20);
  expect(await contents(map)).toEqual(new Map());
});

test("a type without batch commands is read and written one by one", async () => {
  const map = makeMap({ type: MapType.DEVMAP_HASH, keySize: 4, valueSize: 4, maxEntries: 300 });
  const loopback = 1;
  await map.updateBatch(
    u32(...Array.from({ length: 200 }, (_, i) => i)),
    u32(...Array(200).fill(loopback)),
    200,
  );
  const { count, keys, values } = await map.entries();
  expect(count).toBe(200);
  expect(new Set(Array.from({ length: 200 }, (_, i) => keys.readUInt32LE(i * 4))).size).toBe(200);
  expect(values).toEqual(u32(...Array(200).fill(loopback)));
  expect(await map.deleteBatch(u32(0, 1, 999, 2), 4)).toBe(3);
  const error = await expectCode("EINVAL", () =>
    map.updateBatch(u32(1, 2, 3), u32(loopback, loopback, 0x7ffffff), 3),
  );
  expect(error.done).toBe(2);
});

test("arrays and per-CPU arrays are read whole", async () => {
  for (const type of [MapType.ARRAY, MapType.PERCPU_ARRAY]) {
    const map = makeMap({ type, maxEntries: 5000 });
    const value = u64(...Array(type === MapType.ARRAY ? 1 : possibleCpus()).fill(77));
    map.update(u32(4321), value);
    const { count, keys, values } = await map.entries();
    expect(count).toBe(5000);
    expect(keys.readUInt32LE(4321 * 4)).toBe(4321);
    expect(values.subarray(4321 * map.info.lookupSize, 4322 * map.info.lookupSize)).toEqual(value);
  }
});

test("a batch that does not fit reports how much was done", async () => {
  const map = makeMap({ keySize: 8, maxEntries: 10 });
  const error = await expectCode("E2BIG", () => map.updateBatch(keysOf(20), Buffer.alloc(160), 20));
  expect(error.done).toBe(10);
  expect((await map.entries()).count).toBe(10);
});

test("flags that the batch command lacks are honoured all the same", async () => {
  const map = makeMap({ keySize: 8 });
  map.update(keysOf(1, 2), u64(5));
  const error = await expectCode("EEXIST", () =>
    map.updateBatch(keysOf(4), Buffer.alloc(32), 4, UpdateFlag.NOEXIST),
  );
  expect(error.done).toBe(2);
});

test("sizes and counts must agree", async () => {
  const map = makeMap({ keySize: 8 });
  await expectCode("SIZE", () => map.updateBatch(keysOf(2), Buffer.alloc(16), 3));
  await expectCode("SIZE", () => map.updateBatch(keysOf(2), Buffer.alloc(15), 2));
  await expectCode("SIZE", () => map.deleteBatch(keysOf(2), 1));
  await expectCode("ARGUMENT", () => map.deleteBatch(keysOf(2), -1));
  await expectCode("ARGUMENT", () => map.updateBatch(keysOf(2), Buffer.alloc(16), 2, -1));
  await map.updateBatch(Buffer.alloc(0), Buffer.alloc(0), 0);
  expect(await map.deleteBatch(Buffer.alloc(0), 0)).toBe(0);
  const ring = makeMap({ type: MapType.RINGBUF, keySize: 0, valueSize: 0, maxEntries: 4096 });
  await expectCode("UNSUPPORTED", () => ring.entries());
  await expectCode("UNSUPPORTED", () => ring.updateBatch(Buffer.alloc(0), Buffer.alloc(0), 0));
});

test("a map that is written while it is read gives each element once", async () => {
  const map = makeMap({ keySize: 8, maxEntries: 50_000 });
  await map.updateBatch(keysOf(20_000), Buffer.alloc(160_000), 20_000);
  const reads = Array.from({ length: 5 }, () => map.entries());
  const writes = [
    map.updateBatch(keysOf(5000, 100_000), Buffer.alloc(40_000), 5000),
    map.deleteBatch(keysOf(9000), 9000),
  ];
  for (const { count, keys } of await Promise.all(reads)) {
    const distinct = new Set(Array.from({ length: count }, (_, i) => keys.readUInt32BE(i * 8 + 4)));
    expect(distinct.size).toBe(count);
    for (let i = 9000; i < 20_000; i += 97) expect(distinct.has(i)).toBe(true);
  }
  await Promise.all(writes);
  expect((await map.entries()).count).toBe(16_000);
});

test("a map closed meanwhile is read to the end", async () => {
  const map = makeMap({ keySize: 8, maxEntries: 50_000 });
  await map.updateBatch(keysOf(20_000), Buffer.alloc(160_000), 20_000);
  const reads = Array.from({ length: 6 }, () => map.entries());
  const deleted = map.deleteBatch(keysOf(1), 1);
  map.close();
  for (const { count } of await Promise.all(reads)) expect(count).toBeGreaterThanOrEqual(19_999);
  expect(await deleted).toBe(1);
  await expectCode("CLOSED", () => map.entries());
});
