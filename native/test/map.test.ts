// Maps of all kinds, one element at a time; pins; ids.
import { expect, test } from "vitest";
import { BpfMap, BpfProgram, listMaps, MapFlag, MapType, possibleCpus, UpdateFlag } from "../lib/index.ts";
import { closing, expectCode, failure, loadSample, makeMap, pinPath, u32, u64 } from "./support.ts";

test("a hash map is written, read, walked and emptied", () => {
  const map = makeMap();
  expect(map.lookup(u32(1))).toBeUndefined();
  map.update(u32(1), u64(10));
  map.update(u32(2), u64(20));
  map.update(u32(2), u64(21));
  expect(map.lookup(u32(2))).toEqual(u64(21));
  const first = map.nextKey();
  const second = map.nextKey(first);
  expect([first, second].map((key) => key?.readUInt32LE()).sort()).toEqual([1, 2]);
  expect(map.nextKey(second)).toBeUndefined();
  expect(map.delete(u32(1))).toBe(true);
  expect(map.delete(u32(1))).toBe(false);
});

test("update flags hold, and a full map says so", async () => {
  const map = makeMap({ maxEntries: 2 });
  await expectCode("ENOENT", () => map.update(u32(1), u64(1), UpdateFlag.EXIST));
  map.update(u32(1), u64(1), UpdateFlag.NOEXIST);
  const error = await expectCode("EEXIST", () => map.update(u32(1), u64(1), UpdateFlag.NOEXIST));
  expect(error).toMatchObject({ operation: "map.update", object: "wt_map", errno: 17 });
  await map.updateAsync(u32(2), u64(2));
  await expectCode("E2BIG", () => map.updateAsync(u32(3), u64(3)));
  expect(await map.deleteAsync(u32(2))).toBe(true);
  expect(await map.deleteAsync(u32(2))).toBe(false);
});

test("info has the shape", () => {
  const map = makeMap({ maxEntries: 5, valueSize: 6 });
  expect(map.info).toMatchObject({
    name: "wt_map",
    type: MapType.HASH,
    keySize: 4,
    valueSize: 6,
    lookupSize: 6,
    maxEntries: 5,
    flags: 0,
    perCpu: false,
  });
  expect(listMaps()).toContain(map.info.id);
  const again = closing(BpfMap.openById(map.info.id));
  again.update(u32(9), Buffer.alloc(6, 9));
  expect(map.lookup(u32(9))).toEqual(Buffer.alloc(6, 9));
});

test.each([
  ["PERCPU_HASH", MapType.PERCPU_HASH, 6],
  ["PERCPU_ARRAY", MapType.PERCPU_ARRAY, 8],
  ["LRU_PERCPU_HASH", MapType.LRU_PERCPU_HASH, 4],
])("%s: values of all CPUs, each padded to 8 bytes", async (_name, type, valueSize) => {
  const map = makeMap({ type, valueSize });
  expect(map.info).toMatchObject({ perCpu: true, valueSize, lookupSize: 8 * possibleCpus() });
  const value = Buffer.alloc(map.info.lookupSize);
  for (let cpu = 0; cpu < possibleCpus(); cpu++) value.fill(cpu + 1, cpu * 8, cpu * 8 + valueSize);
  map.update(u32(3), value);
  expect(map.lookup(u32(3))).toEqual(value);
  await expectCode("SIZE", () => map.update(u32(3), Buffer.alloc(value.length - 1)));
});

test("a longest prefix wins, and a prefix is one element", async () => {
  const object = await loadSample();
  const map = object.map("prefixes");
  const key = (length: number, ...address: number[]) => Buffer.concat([u32(length), Buffer.from(address)]);
  map.update(key(8, 10, 0, 0, 0), u32(8));
  map.update(key(24, 10, 1, 2, 0), u32(24));
  map.update(key(0, 0, 0, 0, 0), u32(99));
  const resultOf = (...address: number[]) => {
    const data = Buffer.alloc(64);
    data.set(address);
    return object.program("lookup_prefix").testRun({ data }).result;
  };
  expect([resultOf(10, 1, 2, 3), resultOf(10, 9, 9, 9), resultOf(11, 0, 0, 1)]).toEqual([24, 8, 99]);
  expect(map.delete(key(24, 10, 1, 2, 0))).toBe(true);
  expect(resultOf(10, 1, 2, 3)).toBe(8);
  await expectCode("EINVAL", () => map.update(key(33, 10, 0, 0, 0), u32(1)));
  await expectCode("EINVAL", () => makeMap({ type: MapType.LPM_TRIE, keySize: 8 }));
});

test("an LRU map makes room", () => {
  const map = makeMap({ type: MapType.LRU_HASH, maxEntries: 64 });
  for (let i = 0; i < 1000; i++) map.update(u32(i), u64(i));
  expect(map.lookup(u32(999))).toEqual(u64(999));
  expect(map.lookup(u32(0))).toBeUndefined();
});

test("an array has all its elements from the start", async () => {
  const map = makeMap({ type: MapType.ARRAY, maxEntries: 3 });
  expect(map.lookup(u32(2))).toEqual(u64(0));
  expect(map.lookup(u32(3))).toBeUndefined();
  await expectCode("E2BIG", () => map.update(u32(3), u64(1)));
  await expectCode("EINVAL", () => map.delete(u32(0)));
});

test("maps are put into a map of maps and read as ids", async () => {
  const object = await loadSample();
  const outer = object.map("outer");
  const inner = makeMap({ type: MapType.ARRAY, maxEntries: 1, name: "wt_inner" });
  const other = makeMap({ type: MapType.ARRAY, maxEntries: 1, name: "wt_inner" });
  const pass = () => object.program("pass").testRun({ data: Buffer.alloc(64) }).result;
  expect(outer.innerId(u32(0))).toBeUndefined();
  expect(pass()).toBe(0xffffffff);
  inner.update(u32(0), u64(1));
  other.update(u32(0), u64(2));
  await outer.setInner(u32(0), inner);
  expect(outer.innerId(u32(0))).toBe(inner.info.id);
  expect(pass()).toBe(1);
  await outer.setInner(u32(0), other);
  expect(pass()).toBe(2);
  other.close();
  expect(pass()).toBe(2);
  expect(await outer.deleteAsync(u32(0))).toBe(true);
  expect(pass()).toBe(0xffffffff);
  await expectCode("EINVAL", () => outer.setInner(u32(0), makeMap({ name: "wt_hash" })));
  await expectCode("CLOSED", () => outer.setInner(u32(0), other));
  await expectCode("ARGUMENT", () => outer.setInner(u32(0), {} as BpfMap));
  await expectCode("ARGUMENT", () => inner.setInner(u32(0), inner));
  await expectCode("ARGUMENT", () => inner.innerId(u32(0)));
});

test("maps go into a map of maps many at once, and out", async () => {
  const count = 100;
  const makeInner = () => makeMap({ type: MapType.ARRAY, maxEntries: 1 });
  const outer = makeMap({
    ...{ type: MapType.ARRAY_OF_MAPS, valueSize: 4 },
    ...{ maxEntries: count, innerMap: makeInner() },
  });
  const inners = Array.from({ length: count }, makeInner);
  const keys = Buffer.concat(inners.map((_, number) => u32(number)));
  await outer.setInners(Buffer.alloc(0), []);
  await outer.setInners(keys, inners);
  expect(inners.map((_, number) => outer.innerId(u32(number)))).toEqual(inners.map(({ info }) => info.id));
  expect(await outer.deleteBatch(Buffer.concat([keys, u32(count - 1)]), count + 1)).toBe(count);
  expect(outer.innerId(u32(7))).toBeUndefined();
  // One that does not fit: the others may be there.
  const [first, second] = inners as [BpfMap, BpfMap];
  const misfit = makeMap({ type: MapType.HASH, maxEntries: 1 });
  const error = await outer
    .setInners(keys.subarray(0, 12), [first, misfit, second])
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "EINVAL", done: 2 });
  expect([0, 1, 2].map((number) => outer.innerId(u32(number)))).toEqual([
    first.info.id,
    undefined,
    second.info.id,
  ]);
  await expectCode("ARGUMENT", () => outer.setInners(keys.subarray(0, 8), [first, {} as BpfMap]));
  await expectCode("ARGUMENT", () => first.setInners(u32(0), [second]));
});

test("elements are written to many maps in one call", async () => {
  const maps = Array.from({ length: 5_000 }, (_, at) =>
    at < 100 ? makeMap({ type: MapType.ARRAY, maxEntries: 4 }) : undefined,
  ).map((map, at, all) => map ?? (all[at % 100] as BpfMap));
  await BpfMap.updateEach([], Buffer.alloc(0), Buffer.alloc(0));
  const keys = Buffer.concat(maps.map((_, at) => u32(at % 4)));
  // More than one call of the kernel's side; a later element of a map counts.
  await BpfMap.updateEach(maps, keys, Buffer.concat(maps.map((_, at) => u64(at))));
  const last = maps.map((map, at) => ({ map, key: at % 4, at })).slice(-100);
  for (const { map, key, at } of last) expect(map.lookup(u32(key))).toEqual(u64(at));
  // One key that the third map does not have: what comes before it is written.
  const few = maps.slice(0, 4);
  const error = await BpfMap.updateEach(
    few,
    Buffer.concat([u32(0), u32(1), u32(4), u32(0)]),
    Buffer.concat([u64(7), u64(7), u64(7), u64(7)]),
  ).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "E2BIG", done: 2 });
  expect(few[1]?.lookup(u32(1))).toEqual(u64(7));
  expect(few[3]?.lookup(u32(0))).not.toEqual(u64(7));
  await expectCode("SIZE", () => BpfMap.updateEach(few, Buffer.alloc(15), Buffer.alloc(32)));
  await expectCode("SIZE", () => BpfMap.updateEach(few, Buffer.alloc(16), Buffer.alloc(31)));
  await expectCode("ARGUMENT", () =>
    BpfMap.updateEach([few[0] as BpfMap, {} as BpfMap], Buffer.alloc(8), Buffer.alloc(16)),
  );
  const other = makeMap({ type: MapType.ARRAY, maxEntries: 4, valueSize: 4 });
  await expectCode("ARGUMENT", () =>
    BpfMap.updateEach([few[0] as BpfMap, other], Buffer.alloc(8), Buffer.alloc(16)),
  );
  few[1]?.close();
  await expectCode("CLOSED", () => BpfMap.updateEach(few, Buffer.alloc(16), Buffer.alloc(32)));
});

test("programs go into a program array, for tail calls", async () => {
  const object = await loadSample();
  const programs = object.map("programs");
  const handOver = () => object.program("hand_over").testRun({ data: Buffer.alloc(64) }).result;
  expect(handOver()).toBe(0xffffffff);
  await programs.setProgram(u32(0), object.program("drop"));
  expect(handOver()).toBe(2);
  await programs.setProgram(u32(1), object.program("hand_over"));
  expect(handOver()).toBe(2);
  expect(programs.delete(u32(0))).toBe(true);
  expect(handOver()).toBe(0xffffffff);
  await expectCode("EINVAL", () => programs.setProgram(u32(0), object.program("xdp_drop")));
  await expectCode("E2BIG", () => programs.setProgram(u32(2), object.program("drop")));
  await expectCode("ARGUMENT", () => programs.setProgram(u32(0), {} as BpfProgram));
  await expectCode("ARGUMENT", () => makeMap().setProgram(u32(0), object.program("drop")));
});

test("a map of maps is made with a template, which need not stay", async () => {
  const template = makeMap({ valueSize: 4, name: "wt_template" });
  const outer = makeMap({ type: MapType.ARRAY_OF_MAPS, valueSize: 4, maxEntries: 2, innerMap: template });
  template.close();
  await outer.setInner(u32(1), makeMap({ valueSize: 4, maxEntries: 16 }));
  expect((await outer.entries()).count).toBe(1);
  await expectCode("CLOSED", () =>
    makeMap({ type: MapType.ARRAY_OF_MAPS, valueSize: 4, innerMap: template }),
  );
});

test("an array of maps is read whole, in order, without its empty slots", async () => {
  // Sizes around those of the spans that threads read.
  for (const maxEntries of [1, 32, 33, 2048, 5000]) {
    const inner = makeMap();
    const outer = makeMap({ type: MapType.ARRAY_OF_MAPS, valueSize: 4, maxEntries, innerMap: inner });
    expect(await outer.entries()).toMatchObject({ count: 0, keys: Buffer.alloc(0), values: Buffer.alloc(0) });
    const slots = [0, 31, 32, 63, 1000, 2047, 4999].filter((slot) => slot < maxEntries);
    const maps = slots.map(() => makeMap());
    for (const [i, slot] of slots.entries()) await outer.setInner(u32(slot), maps[i] as BpfMap);
    expect(await outer.entries()).toMatchObject({
      count: slots.length,
      keys: u32(...slots),
      values: u32(...maps.map(({ info }) => info.id)),
    });
  }
});

test("a queue takes an empty key", () => {
  const queue = makeMap({ type: MapType.QUEUE, keySize: 0 });
  const none = Buffer.alloc(0);
  queue.update(none, u64(5));
  queue.update(none, u64(6));
  expect(queue.lookup(none)).toEqual(u64(5));
});

test("a frozen map is closed to user space", async () => {
  const map = makeMap({ type: MapType.ARRAY });
  map.freeze();
  await expectCode("EPERM", () => map.update(u32(0), u64(1)));
  // EBUSY from kernels that ask first whether it is frozen already, and then for the right to write.
  expect(["EPERM", "EBUSY"]).toContain((await failure(() => map.freeze())).code);
  expect(map.lookup(u32(0))).toEqual(u64(0));
});

test("what no map could be is refused", async () => {
  await expectCode("ARGUMENT", () => makeMap({ name: "longer_than_fifteen" }));
  await expectCode("ARGUMENT", () => makeMap({ name: "no spaces" }));
  await expectCode("ARGUMENT", () => makeMap({ keySize: -1 }));
  await expectCode("ARGUMENT", () => makeMap({ maxEntries: 1.5 }));
  await expectCode("ARGUMENT", () => makeMap({ flags: Number.NaN }));
  await expectCode("EINVAL", () => makeMap({ maxEntries: 0 }));
  await expectCode("EINVAL", () => makeMap({ type: 9999 }));
  expect((await failure(() => makeMap({ flags: MapFlag.RDONLY | MapFlag.WRONLY }))).operation).toBe(
    "map.create",
  );
});

test("a pinned map is found again, and only its own pin is removed", async () => {
  const map = makeMap();
  const [path, otherPath] = [pinPath(), pinPath()];
  map.pin(path);
  await expectCode("EEXIST", () => map.pin(path));
  map.update(u32(1), u64(1));
  const again = closing(BpfMap.openPinned(path));
  expect(again.info).toEqual(map.info);
  expect(again.lookup(u32(1))).toEqual(u64(1));
  const other = makeMap({ name: "wt_other" });
  other.pin(otherPath);
  expect((await expectCode("ARGUMENT", () => map.unpin(otherPath))).message).toContain("another map");
  await expectCode("ARGUMENT", () => BpfProgram.openPinned(path));
  other.unpin(otherPath);
  again.unpin(path);
  await expectCode("ENOENT", () => map.unpin(path));
  await expectCode("ENOENT", () => BpfMap.openPinned(path));
  expect((await failure(() => map.pin("/proc/wt-no-bpffs"))).errno).toBeGreaterThan(0);
  await expectCode("ARGUMENT", () => map.pin("a\0b"));
  await expectCode("ARGUMENT", () => BpfMap.openPinned(""));
});

test("unknown ids are an error", async () => {
  expect(await expectCode("ENOENT", () => BpfMap.openById(0x7fffffff))).toMatchObject({
    operation: "map.openById",
    object: "id 2147483647",
  });
  await expectCode("ARGUMENT", () => BpfMap.openById(-1));
  await expectCode("ARGUMENT", () => BpfMap.openById("1" as unknown as number));
});
