// Objects: opening, setting up, loading, and the states in between.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { BpfObject, MapFlag, MapType, ProgramType } from "../lib/index.ts";
import {
  barePath,
  closing,
  expectCode,
  failure,
  loadSample,
  makeMap,
  openSample,
  refusedPath,
  samplePath,
  u32,
  u64,
} from "./support.ts";

const packet = Buffer.alloc(64);

test("an opened object lists its maps and programs", () => {
  const object = openSample();
  expect(object.name).toBe("sample");
  const { counters, prefixes, outer, ...rest } = Object.fromEntries(
    object.maps.map((map) => [map.name, map]),
  );
  expect(counters).toMatchObject({ type: MapType.HASH, keySize: 4, valueSize: 8, maxEntries: 128 });
  expect(prefixes).toMatchObject({ type: MapType.LPM_TRIE, keySize: 8, flags: MapFlag.NO_PREALLOC });
  expect(outer).toMatchObject({ type: MapType.HASH_OF_MAPS, valueSize: 4 });
  expect(Object.keys(rest).sort()).toEqual([".bss", ".data", ".rodata", "events", "per_cpu", "programs"]);
  expect(object.programs).toContainEqual({
    name: "count",
    section: "tc",
    type: ProgramType.SCHED_CLS,
    autoload: true,
  });
  expect(object.programs.find(({ name }) => name === "xdp_drop")?.type).toBe(ProgramType.XDP);
});

test("an object opens from bytes as from a file, and does not need the bytes afterwards", async () => {
  const bytes = readFileSync(samplePath);
  const object = closing(BpfObject.open(bytes, { name: "from_bytes" }));
  bytes.fill(0);
  await object.load();
  expect(object.program("drop").testRun({ data: packet }).result).toBe(2);
  expect(object.map(".rodata").info.name).toContain("from_by");
});

test("what is no object is refused with libbpf's reason", async () => {
  const missing = await failure(() => BpfObject.open("/nonexistent/x.o"));
  expect(missing).toMatchObject({
    code: "ENOENT",
    operation: "object.open",
    object: "/nonexistent/x.o",
    errno: 2,
  });
  const noElf = await failure(() => BpfObject.open(Buffer.from("not an ELF file at all")));
  expect(noElf.errno).toBeGreaterThan(0);
  expect(noElf.message).toMatch(/elf|ELF/);
  const half = readFileSync(samplePath);
  expect((await failure(() => BpfObject.open(half.subarray(0, half.length / 2)))).errno).toBeGreaterThan(0);
  await expectCode("ARGUMENT", () => BpfObject.open(""));
  await expectCode("ARGUMENT", () => BpfObject.open("a\0b"));
  await expectCode("ARGUMENT", () => BpfObject.open(7 as unknown as string));
  await expectCode("ARGUMENT", () => BpfObject.open(samplePath, { name: "not a name" }));
});

test("data sections can be set as a whole and by variable, in exact sizes", async () => {
  const object = openSample();
  expect(object.getData(".rodata")).toEqual(Buffer.concat([u32(0, 24), Buffer.from([10, 0, 0, 0])]));
  object.setVariable("verdict", u32(7));
  object.setVariable("start_at", u64(100));
  object.setVariable("runs", u64(1000));
  object.setVariable("burst", Buffer.from([3, 0]));
  expect(object.getData(".rodata").readUInt32LE(0)).toBe(7);
  const whole = object.getData(".rodata");
  whole.writeUInt32LE(5, 0);
  object.setData(".rodata", whole);
  await object.load();
  expect(object.program("count").testRun({ data: packet }).result).toBe(5);
  expect(object.map("per_cpu").lookup(u32(0))?.readBigUInt64LE(0)).toSatisfy((n) => n === 100n || n === 0n);
  const { variables } = object.btf?.find("datasec", ".bss") ?? {};
  const runs = variables?.find(({ typeId }) => object.btf?.type(typeId)?.name === "runs");
  expect(object.getData(".bss").readBigUInt64LE(runs?.offset)).toBe(1001n);
});

test("wrong sizes and unknown names are refused before the load", async () => {
  const object = openSample();
  const short = await expectCode("SIZE", () => object.setData(".rodata", Buffer.alloc(3)));
  expect(short.message).toBe("object.setData sample/.rodata: SIZE: bytes must have 12 bytes, got 3");
  await expectCode("SIZE", () => object.setVariable("verdict", Buffer.alloc(8)));
  await expectCode("ARGUMENT", () => object.setVariable("nobody", u32(1)));
  await expectCode("ARGUMENT", () => object.setVariable("counters", u32(1)));
  await expectCode("ARGUMENT", () => object.setData(".rodata", [1] as unknown as Uint8Array));
  await expectCode("ARGUMENT", () => object.setMaxEntries("counters", 0));
  await expectCode("ARGUMENT", () => object.setMaxEntries("counters", 2 ** 32));
  const unknown = await expectCode("ARGUMENT", () => object.setMaxEntries("nobody", 1));
  expect(unknown.message).toContain("it has: counters");
  await expectCode("ARGUMENT", () => object.setAutoload("nobody", false));
  await expectCode("ARGUMENT", () => object.reuseMap("nobody", makeMap()));
  await expectCode("ARGUMENT", () => object.reuseMap("counters", {} as ReturnType<typeof makeMap>));
  await expectCode("ARGUMENT", () => object.getData("counter"));
});

test("maps can be resized and programs left out", async () => {
  const object = await loadSample((opened) => {
    opened.setMaxEntries("counters", 7);
    opened.setAutoload("drop", false);
    expect(opened.maps.find(({ name }) => name === "counters")?.maxEntries).toBe(7);
  });
  expect(object.map("counters").info.maxEntries).toBe(7);
  const left = await expectCode("ARGUMENT", () => object.program("drop"));
  expect(left.message).toContain("autoload");
  await expectCode("ARGUMENT", () => object.program("nobody"));
  await expectCode("ARGUMENT", () => object.map("nobody"));
});

test("an existing map is reused if its shape fits", async () => {
  const fitting = makeMap({ maxEntries: 128 });
  fitting.update(u32(0), u64(41));
  const object = await loadSample((opened) => opened.reuseMap("counters", fitting));
  expect(object.map("counters").info.id).toBe(fitting.info.id);
  object.program("count").testRun({ data: packet });
  expect(fitting.lookup(u32(0))).toEqual(u64(42));

  const wrong = await expectCode("SHAPE", () => openSample().reuseMap("counters", makeMap({ valueSize: 4 })));
  expect(wrong.message).toContain("valueSize 4 instead of 8, maxEntries 16 instead of 128");
  await expectCode("SHAPE", () => openSample().reuseMap("prefixes", fitting));
  fitting.close();
  await expectCode("CLOSED", () => openSample().reuseMap("counters", fitting));
});

test("the template of a map of maps can be given", async () => {
  const template = makeMap({ type: MapType.ARRAY, maxEntries: 1, name: "wt_template" });
  const object = closing(BpfObject.open(barePath));
  object.setInnerMap("outer", template);
  template.close();
  await object.load();
  const inner = makeMap({ type: MapType.ARRAY, maxEntries: 1 });
  await object.map("outer").setInner(u32(1), inner);
  expect(object.map("outer").innerId(u32(1))).toBe(inner.info.id);
  await expectCode("EINVAL", () => object.map("outer").setInner(u32(1), makeMap()));

  const without = await failure(() => closing(BpfObject.open(barePath)).load());
  expect(without.message).toContain("map 'outer': failed to create");
  expect(without.verifierLog).toBeUndefined();
  await expectCode("EINVAL", () => openSample().setInnerMap("counters", inner));
  await expectCode("ARGUMENT", () => openSample().setInnerMap("nobody", inner));
});

test("a refused program's error carries the verifier's log and its reason", async () => {
  const object = closing(BpfObject.open(refusedPath));
  const error = await expectCode("EACCES", () => object.load());
  expect(error.message).toBe(
    "object.load refused: EACCES: Permission denied: R0 invalid mem access 'map_value_or_null'",
  );
  expect(error.verifierLog).toMatch(/call bpf_map_lookup_elem/);
  expect(error.verifierLog).toMatch(/processed \d+ insns/);
  expect((await expectCode("BUSY", () => object.map("values"))).message).toContain("open it again");
  await expectCode("BUSY", () => object.load());
});

test("logs of loads that run at the same time do not mix", async () => {
  const refused = Array.from({ length: 4 }, () => closing(BpfObject.open(refusedPath)));
  const good = Array.from({ length: 4 }, () => openSample({ verifierLog: "always" }));
  const errors = Promise.all(refused.map((object) => failure(() => object.load())));
  await Promise.all(good.map((object) => object.load()));
  for (const { verifierLog } of await errors)
    expect(verifierLog?.match(/processed \d+ insns/g)).toHaveLength(1);
  for (const { verifierLog } of good) {
    expect(verifierLog).toContain("lookup_prefix:\n");
    expect(verifierLog).not.toContain("invalid mem access");
  }
});

test("a successful load has a log only on request", async () => {
  const object = await loadSample();
  expect(object.verifierLog).toBeUndefined();
});

test("while it loads an object is busy; afterwards it can be set up no more", async () => {
  const object = openSample();
  await expectCode("BUSY", () => object.map("counters"));
  await expectCode("BUSY", () => object.program("count"));
  const load = object.load();
  await expectCode("BUSY", () => object.map("counters"));
  await expectCode("BUSY", () => object.load());
  await expectCode("BUSY", () => object.setData(".rodata", object.getData(".rodata")));
  await load;
  await expectCode("BUSY", () => object.load());
  await expectCode("BUSY", () => object.setMaxEntries("counters", 1));
  await expectCode("BUSY", () => object.setVariable("verdict", u32(1)));
  await expectCode("BUSY", () => object.setAutoload("drop", true));
  await expectCode("BUSY", () => object.reuseMap("counters", makeMap()));
});

test("an object can be closed during its load", async () => {
  const object = openSample();
  const load = expectCode("CLOSED", () => object.load());
  object.close();
  await load;
  expect(object.closed).toBe(true);
});

test("maps and programs outlive their object", async () => {
  const object = await loadSample();
  const map = closing(object.map("counters"));
  const program = closing(object.program("count"));
  object.close();
  object.close();
  program.testRun({ data: packet });
  expect(map.lookup(u32(0))).toEqual(u64(1));
});
