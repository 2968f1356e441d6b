// Every method that takes bytes, with too few, too many and none at all.
import { expect, test } from "vitest";
import { type BpfMap, type BpfProgram, MapType } from "../lib/index.ts";
import { expectCode, makeMap, openSample } from "./support.ts";

type Row = (map: BpfMap, bytes: Uint8Array) => unknown;
const key = Buffer.alloc(4);
const value = Buffer.alloc(8);

const keys: Record<string, Row> = {
  lookup: (map, bytes) => map.lookup(bytes),
  update: (map, bytes) => map.update(bytes, value),
  updateAsync: (map, bytes) => map.updateAsync(bytes, value),
  delete: (map, bytes) => map.delete(bytes),
  deleteAsync: (map, bytes) => map.deleteAsync(bytes),
  nextKey: (map, bytes) => map.nextKey(bytes),
  updateBatch: (map, bytes) => map.updateBatch(bytes, value, 1),
  deleteBatch: (map, bytes) => map.deleteBatch(bytes, 1),
};
const keysOfOuter: Record<string, Row> = {
  setInner: (map, bytes) => map.setInner(bytes, makeMap()),
  setInners: (map, bytes) => map.setInners(bytes, [makeMap()]),
  setProgram: (map, bytes) => map.setProgram(bytes, {} as BpfProgram),
  innerId: (map, bytes) => map.innerId(bytes),
};
const values: Record<string, Row> = {
  update: (map, bytes) => map.update(key, bytes),
  updateAsync: (map, bytes) => map.updateAsync(key, bytes),
  updateBatch: (map, bytes) => map.updateBatch(key, bytes, 1),
};

async function cross(map: BpfMap, rows: Record<string, Row>, size: number): Promise<void> {
  for (const call of Object.values(rows)) {
    for (const wrong of [0, size - 1, size + 1, size * 1000]) {
      const error = await expectCode("SIZE", () => call(map, Buffer.alloc(wrong)));
      expect(error.message).toContain(`must have ${size} bytes, got ${wrong}`);
    }
    // A view whose memory has been given away has no bytes left.
    const given = new Uint8Array(size);
    structuredClone(given.buffer, { transfer: [given.buffer] });
    await expectCode("SIZE", () => call(map, given));
    for (const no of [
      "1234",
      [1, 2, 3, 4],
      null,
      7,
      {},
      new DataView(new ArrayBuffer(size)),
      new Uint32Array(1),
    ]) {
      await expectCode("ARGUMENT", () => call(map, no as Uint8Array));
    }
  }
}

test("keys", async () => {
  await cross(makeMap(), keys, 4);
  await cross(makeMap({ type: MapType.HASH_OF_MAPS, valueSize: 4, innerMap: makeMap() }), keysOfOuter, 4);
});

test("values", async () => {
  await cross(makeMap(), values, 8);
});

test("values of per-CPU maps", async () => {
  const map = makeMap({ type: MapType.PERCPU_HASH, valueSize: 4 });
  await cross(map, values, map.info.lookupSize);
});

test("flags", async () => {
  const map = makeMap();
  for (const flags of [-1, 0.5, Number.NaN, 2 ** 53, "1" as unknown as number]) {
    await expectCode("ARGUMENT", () => map.update(key, value, flags));
    await expectCode("ARGUMENT", () => map.updateAsync(key, value, flags));
    await expectCode("ARGUMENT", () => map.updateBatch(key, value, 1, flags));
  }
  await expectCode("EINVAL", () => map.update(key, value, 2 ** 40));
});

test("data sections", async () => {
  const object = openSample();
  for (const wrong of [0, 11, 13]) {
    await expectCode("SIZE", () => object.setData(".rodata", Buffer.alloc(wrong)));
    await expectCode("SIZE", () => object.setVariable("settings", Buffer.alloc(wrong)));
  }
});

test("bytes of a plain Uint8Array, a slice and shared memory are taken alike", () => {
  const map = makeMap();
  const large = new Uint8Array(64).fill(9);
  map.update(large.subarray(3, 7), large.subarray(8, 16));
  expect(map.lookup(Buffer.alloc(4, 9))).toEqual(Buffer.alloc(8, 9));
  const shared = new Uint8Array(new SharedArrayBuffer(12)).fill(8);
  map.update(shared.subarray(0, 4), shared.subarray(4));
  expect(map.lookup(shared.subarray(8))).toEqual(Buffer.alloc(8, 8));
});
