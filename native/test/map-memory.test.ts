// The memory of maps: what is read, and that no use of it can end the process.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type BpfMap, MapFlag, type MapMemory, MapType } from "../lib/index.ts";
import { closing, expectCode, makeMap, methodsOf, runChild, u32, u64 } from "./support.ts";

const makeArray = (valueSize: number, maxEntries = 16): BpfMap =>
  makeMap({ type: MapType.ARRAY, valueSize, maxEntries, flags: MapFlag.MMAPABLE });

const bytesOf = (memory: MapMemory, length = memory.byteLength, offset = 0): Buffer => {
  const bytes = Buffer.alloc(length, 0xff);
  memory.read(bytes, offset);
  return bytes;
};

test("what is written is read, at once and without a system call", () => {
  const map = makeArray(8, 3);
  const memory = closing(map.mmap());
  expect([memory.byteLength, memory.stride]).toEqual([24, 8]);
  expect(bytesOf(memory)).toEqual(u64(0, 0, 0));
  map.update(u32(1), u64(7));
  expect(bytesOf(memory)).toEqual(u64(0, 7, 0));
  map.update(u32(2), u64(9));
  expect(bytesOf(memory, 16, 8)).toEqual(u64(7, 9));
  expect(bytesOf(memory, 0, 24)).toEqual(Buffer.alloc(0));
});

test("values are padded to 8 bytes, and a map may have many pages", () => {
  const map = makeArray(12, 10_000);
  const memory = closing(map.mmap());
  expect([memory.byteLength, memory.stride]).toEqual([160_000, 16]);
  map.update(u32(9_999), Buffer.alloc(12, 5));
  expect(bytesOf(memory, 16, 9_999 * memory.stride)).toEqual(Buffer.from([...Array(12).fill(5), 0, 0, 0, 0]));
});

test("into a part of a buffer, and of a buffer that is not aligned", () => {
  const map = makeArray(8, 2);
  map.update(u32(0), u64(258));
  const whole = Buffer.alloc(20, 0xee);
  closing(map.mmap()).read(whole.subarray(3, 19));
  const untouched = (bytes: number) => Buffer.alloc(bytes, 0xee);
  expect(whole).toEqual(Buffer.concat([untouched(3), u64(258, 0), untouched(1)]));
});

test("it outlives the map's handle, and a frozen map can be read", () => {
  const map = makeArray(8, 1);
  map.update(u32(0), u64(3));
  map.freeze();
  const memory = closing(map.mmap());
  map.close();
  expect(bytesOf(memory)).toEqual(u64(3));
});

test("after close() every use is an error", async () => {
  const memory = makeArray(8).mmap();
  expect(methodsOf(Object.getPrototypeOf(memory), ["close"])).toEqual(["read"]);
  expect(memory.closed).toBe(false);
  memory.close();
  memory.close();
  expect(memory.closed).toBe(true);
  const error = await expectCode("CLOSED", () => memory.read(Buffer.alloc(8)));
  expect(error).toMatchObject({ operation: "memory.read", object: "wt_map" });
});

test("what is outside of the memory, or no whole word, is an error", async () => {
  const memory = closing(makeArray(8, 2).mmap());
  const read = (size: number, offset: number) => () => memory.read(Buffer.alloc(size), offset);
  for (const [size, offset] of [
    [24, 0],
    [16, 8],
    [8, 16],
    [4096, 0],
    [7, 0],
    [8, 4],
  ] as const)
    await expectCode("SIZE", read(size, offset));
  for (const offset of [-8, 0.5, 24, 2 ** 53, Number.NaN]) await expectCode("ARGUMENT", read(8, offset));
  await expectCode("ARGUMENT", () => memory.read("text" as unknown as Buffer));
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  memory.read(detached); // has no bytes any more
});

test("maps that have no memory to map are refused", async () => {
  await expectCode("UNSUPPORTED", () => makeMap().mmap());
  await expectCode("UNSUPPORTED", () => makeMap({ type: MapType.ARRAY }).mmap());
});

test("words are read as a whole while they are written", async () => {
  const map = makeArray(8, 1);
  const memory = closing(map.mmap());
  const values = [u64(0), Buffer.alloc(8, 0xff)] as const;
  let written = 0;
  const write = async () => {
    for (let i = 0; i < 2_000; i++, written++) await map.updateAsync(u32(0), values[i % 2 === 0 ? 1 : 0]);
  };
  const writing = write();
  const seen = new Set<string>();
  const read = async () => {
    while (written < 2_000) {
      for (let i = 0; i < 1_000; i++) seen.add(bytesOf(memory).toString("hex"));
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all([writing, read()]);
  expect([...seen].sort()).toEqual(["0".repeat(16), "f".repeat(16)]);
});

const mappings = (): number => readFileSync("/proc/self/maps", "utf8").split("bpf-map").length - 1;

test("closing unmaps", () => {
  const map = makeArray(4096, 64);
  const before = mappings();
  const opened = Array.from({ length: 50 }, () => map.mmap());
  expect(mappings()).toBeGreaterThan(before);
  for (const memory of opened) memory.close();
  expect(mappings()).toBe(before);
});

test("memory that was not closed is unmapped by the garbage collector", async () => {
  const outcome = await runChild(
    `
    import { readFileSync } from "node:fs";
    const mapped = () => readFileSync("/proc/self/maps", "utf8").split("bpf-map").length - 1;
    const map = bpf.BpfMap.create({ type: 2, name: "wt", keySize: 4, valueSize: 8, maxEntries: 1, flags: bpf.MapFlag.MMAPABLE });
    const forget = () => { map.mmap().read(new Uint8Array(8)); };
    for (let i = 0; i < 100; i++) forget();
    for (let i = 0; i < 200 && mapped() > 0; i++) {
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    console.log(mapped());`,
    ["--expose-gc"],
  );
  expect(outcome).toEqual({ status: 0, signal: null, stdout: "0\n", stderr: "" });
});
