// BTF of built and loaded objects and of the kernel, and bytes that are no BTF.
import { expect, test } from "vitest";
import { Btf, type BtfType } from "../lib/index.ts";
import { expectCode, failure, loadSample, openSample, refusedPath, samplePath } from "./support.ts";

/** Raw BTF of the given types (as 32-bit words) and strings, in either byte order. */
function build(words: readonly number[], strings: string, little = true): Buffer {
  const text = Buffer.from(strings);
  const bytes = Buffer.alloc(24 + words.length * 4 + text.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(0, 0xeb9f, little);
  view.setUint8(2, 1);
  const header = [24, 0, words.length * 4, words.length * 4, text.length];
  for (const [i, word] of header.entries()) view.setUint32(4 + i * 4, word, little);
  for (const [i, word] of words.entries()) view.setUint32(24 + i * 4, word >>> 0, little);
  bytes.set(text, 24 + words.length * 4);
  return bytes;
}

const kindWord = (kind: number, vlen = 0, flag = 0) => ((flag << 31) | (kind << 24) | vlen) >>> 0;

test("types of a built object are decoded", () => {
  const btf = Btf.parse(samplePath);
  const event = btf.find("struct", "sample_event");
  expect(event).toMatchObject({ size: 8 });
  expect(event?.members?.map(({ name, bitOffset, bitSize }) => [name, bitOffset, bitSize])).toEqual([
    ["sequence", 0, 0],
    ["length", 32, 0],
    ["kind", 48, 0],
    ["padding", 56, 0],
  ]);
  const nameOfMember = (i: number) => btf.type(event?.members?.[i]?.typeId ?? -1);
  expect(nameOfMember(0)).toMatchObject({ kind: "typedef", name: "__u32" });
  expect(nameOfMember(2)).toMatchObject({
    kind: "enum",
    name: "sample_kind",
    size: 1,
    signed: false,
    values: [
      { name: "SAMPLE_NONE", value: 0n },
      { name: "SAMPLE_PACKET", value: 1n },
      { name: "SAMPLE_MARK", value: 2n },
    ],
  });
  expect(btf.find("int", "unsigned int")).toMatchObject({ size: 4, bits: 32, signed: false });
  expect(btf.find("int", "int")?.signed).toBe(true);
  const key = btf.find("struct", "sample_key");
  expect(btf.type(key?.members?.[1]?.typeId ?? -1)).toMatchObject({ kind: "array", length: 4 });
  expect(btf.find("func", "count")?.linkage).toBe(1);
  expect(btf.find("struct", "nobody")).toBeUndefined();
  expect(btf.types[0]).toEqual({ id: 0, kind: "void", name: "" });
  for (const [id, type] of btf.types.entries()) expect(type.id).toBe(id);
});

test("an opened object has the offsets of its variables", () => {
  const { btf } = openSample();
  const section = btf?.find("datasec", ".rodata");
  const places = section?.variables?.map(({ typeId, offset, size }) => [
    btf?.type(typeId)?.name,
    offset,
    size,
  ]);
  expect(places).toEqual([
    ["verdict", 0, 4],
    ["settings", 4, 8],
  ]);
});

test("a loaded map leads to the same types", async () => {
  const object = await loadSample();
  const { btfId, btfValueTypeId } = object.map("prefixes").info;
  const loaded = Btf.openById(btfId);
  expect(loaded.type(btfValueTypeId)).toMatchObject({ name: "__u32" });
  expect(loaded.find("struct", "sample_event")).toEqual(object.btf?.find("struct", "sample_event"));
  await expectCode("ENOENT", () => Btf.openById(0x7fffffff));
});

test("raw bytes go round", () => {
  const btf = Btf.parse(samplePath);
  const again = Btf.fromBytes(btf.raw());
  expect(again.types).toEqual(btf.types);
  btf.raw().fill(0);
  expect(btf.raw()).toEqual(again.raw());
});

test("the kernel's own types", () => {
  const kernel = Btf.vmlinux();
  const buffer = kernel.find("struct", "sk_buff");
  expect(buffer?.members?.find(({ name }) => name === "len")?.bitOffset).toBeGreaterThan(0);
  expect(kernel.find("func", "netif_receive_skb")).toBeDefined();
});

test("64-bit enums, bitfields, signs and tags", () => {
  const words = [
    [1, kindWord(19, 2, 1), 8, 4, 0xffffffff, 0xffffffff, 6, 1, 2],
    [1, kindWord(6, 1, 1), 4, 4, 0xfffffffe],
    [1, kindWord(4, 1, 1), 4, 4, 2, (3 << 24) | 5],
    [4, kindWord(17), 3, 0xffffffff],
    [1, kindWord(7, 0, 1), 0],
    [0, kindWord(13, 1), 2, 4, 3],
  ].flat();
  const strings = "\0ab\0c\0d\0";
  const expected: BtfType[] = [
    { id: 0, kind: "void", name: "" },
    {
      id: 1,
      kind: "enum64",
      name: "ab",
      size: 8,
      signed: true,
      values: [
        { name: "c", value: -1n },
        { name: "d", value: 0x2_0000_0001n },
      ],
    },
    { id: 2, kind: "enum", name: "ab", size: 4, signed: true, values: [{ name: "c", value: -2n }] },
    {
      id: 3,
      kind: "struct",
      name: "ab",
      size: 4,
      members: [{ name: "c", typeId: 2, bitOffset: 5, bitSize: 3 }],
    },
    { id: 4, kind: "declTag", name: "c", typeId: 3, component: -1 },
    { id: 5, kind: "fwd", name: "ab", union: true },
    { id: 6, kind: "funcProto", name: "", typeId: 2, parameters: [{ name: "c", typeId: 3 }] },
  ];
  expect(Btf.fromBytes(build(words, strings)).types).toEqual(expected);
  expect(Btf.fromBytes(build(words, strings, false)).types).toEqual(expected);
});

test("split BTF counts on from its base", () => {
  const base = Btf.fromBytes(build([1, kindWord(1), 4, 32], "\0int\0"));
  const split = Btf.fromBytes(build([5, kindWord(8), 1, 1, kindWord(2), 2], "mine\0"), base);
  expect(split.types).toEqual([
    { id: 2, kind: "typedef", name: "mine", typeId: 1 },
    { id: 3, kind: "ptr", name: "int", typeId: 2 },
  ]);
  expect(split.type(1)?.name).toBe("int");
  expect(split.find("int", "int")?.id).toBe(1);
  expect(split.type(4)).toBeUndefined();
});

test.for([
  ["nothing", Buffer.alloc(0)],
  ["no magic", Buffer.alloc(64, 1)],
  ["half a header", build([], "\0").subarray(0, 10)],
  ["sections beyond the end", build([1, kindWord(1), 4, 32], "\0int\0").subarray(0, 30)],
  ["half a type", build([1, kindWord(1)], "\0int\0")],
  ["members beyond the end", build([0, kindWord(4, 60_000), 4], "\0")],
  ["an unknown kind", build([0, kindWord(25), 4], "\0")],
  ["a name beyond the strings", build([99, kindWord(2), 1], "\0int\0")],
  ["a name without end", build([1, kindWord(2), 1], "\0int")],
] as const)("%s is refused", async ([, bytes]) => {
  expect((await expectCode("ARGUMENT", () => Btf.fromBytes(bytes))).message).toContain("not valid BTF");
});

test("damaged BTF is refused or decoded, and nothing else", () => {
  const good = Btf.parse(refusedPath).raw();
  for (let i = 0; i < good.length; i++) {
    const bad = Buffer.from(good);
    bad[i] = (bad[i] ?? 0) ^ 0xff;
    try {
      expect(Btf.fromBytes(bad).types.length).toBeGreaterThan(0);
    } catch (error) {
      expect(error).toMatchObject({ name: "BpfError", code: "ARGUMENT" });
    }
  }
});

test("files without BTF are rejected", async () => {
  await expectCode("ENOENT", () => Btf.parse("/nonexistent"));
  expect((await failure(() => Btf.parse("/bin/true"))).operation).toBe("btf.parse");
  await expectCode("ARGUMENT", () => Btf.parse(""));
  await expectCode("ARGUMENT", () => Btf.fromBytes("x" as unknown as Buffer));
});
