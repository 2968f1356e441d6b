// The generator of src/gen/layout.ts: the module that it generates from an object's types, run and type-checked.

import { spawnSync } from "node:child_process";
import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Btf } from "bpf-ts";
import { beforeAll, describe, expect, it } from "vitest";
import { digestOf, layoutOf } from "../../src/datapath/btf-layout.ts";
import { anchor, compiler, mapOf } from "./datapath/objects.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { folder, object } = compiler();

const CODE = `
enum colour : __u8 { COLOUR_RED = 0, COLOUR_DARK_BLUE = 7 };
enum option_bits : __u8 { OPTION_A = 1, OPTION_B = 2, OPTION_C = 4 };
enum outcome : __u8 { OUTCOME_OK = 0, OUTCOME_FAILURES = 4, OUTCOME_TOO_BIG = 4, OUTCOME_404 = 5 };
struct pair { __be16 first; __u16 second; };
struct every_kind {
	__u8 small; signed char small_signed;
	__u16 medium; __be32 large_network;
	__u32 large; int large_signed;
	__u64 huge; __be64 huge_network; long long huge_signed;
	__u8 reserved_head[7]; enum colour colour;
	enum option_bits options; __u8 reserved; __be16 medium_network;
	__u32 nested[2][3]; struct pair pairs[2];
	__u16 many[20]; struct pair grid[2][9]; short tall[9][2];
};
${mapOf("struct every_kind", "kinds")}
struct { __uint(type, 6); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } sums SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } events SEC(".maps");
${anchor("enum outcome outcome; enum : __u32 { PLACES = 16, NOWHERE = 0xffffffff } places;")}
`;

const VALUE = {
  small: 0xfe,
  smallSigned: -2,
  medium: 0x1234,
  largeNetwork: 0x0a00_0001,
  large: 0xdead_beef,
  largeSigned: -5,
  huge: 0x0102_0304_0506_0708n,
  hugeNetwork: 0xfd00_0000_0000_0001n,
  hugeSigned: -1n,
  colour: 7,
  options: 5,
  mediumNetwork: 8080,
  nested: [
    [1, 2, 3],
    [4, 5, 6],
  ],
  pairs: [
    { first: 1, second: 2 },
    { first: 3, second: 4 },
  ],
  many: Array.from({ length: 20 }, (_, i) => 100 + i),
  grid: [0, 1].map((row) => Array.from({ length: 9 }, (_, i) => ({ first: row, second: i }))),
  tall: Array.from({ length: 9 }, (_, i) => [i, 0 - i]),
};

/** The bytes that the compiler's own layout requires, written out by hand. */
const BYTES = Buffer.concat([
  Buffer.from("fe fe 3412 0a000001 efbeadde fbffffff".replaceAll(" ", ""), "hex"),
  Buffer.from("0807060504030201 fd00000000000001 ffffffffffffffff".replaceAll(" ", ""), "hex"),
  Buffer.from("00000000000000 07 05 00 1f90".replaceAll(" ", ""), "hex"),
  Buffer.from(Uint32Array.of(1, 2, 3, 4, 5, 6).buffer),
  Buffer.from("0001 0200 0003 0400".replaceAll(" ", ""), "hex"),
  Buffer.from(Uint16Array.from({ length: 20 }, (_, i) => 100 + i).buffer),
  Buffer.from([0, 1].flatMap((row) => Array.from({ length: 9 }, (_, i) => [0, row, i, 0]).flat())),
  Buffer.from(Int16Array.from({ length: 18 }, (_, i) => (i % 2 ? -(i - 1) / 2 : i / 2)).buffer),
]);

interface AnyCodec {
  readonly name: string;
  readonly size: number;
  encode(value: unknown, view: DataView, offset: number): void;
  decode(view: DataView, offset: number): unknown;
}

const objectPath = object(CODE);
const modulePath = join(folder, "layout.ts");

const generate = (from: string, to: string) =>
  spawnSync(process.execPath, ["tools/layout.ts", from, to], { cwd: root, encoding: "utf8" });

let module: Record<string, unknown>;
let codec: AnyCodec;

beforeAll(async () => {
  const { status, stderr } = generate(objectPath, modulePath);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  module = await import(/* @vite-ignore */ pathToFileURL(modulePath).href);
  codec = module["everyKindCodec"] as AnyCodec;
});

const encode = (value: unknown): Buffer => {
  const bytes = Buffer.alloc(codec.size + 4, 0xaa);
  codec.encode(value, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 2);
  expect([bytes.readUInt16LE(0), bytes.readUInt16LE(codec.size + 2)]).toEqual([0xaaaa, 0xaaaa]);
  return bytes.subarray(2, -2);
};

describe("the generated codec", () => {
  it("writes every field where the compiler put it, and zeros in reserved fields", () => {
    expect(encode(VALUE).toString("hex")).toBe(BYTES.toString("hex"));
  });

  it("reads them back, without the reserved ones", () => {
    const shifted = Buffer.concat([Buffer.alloc(3), BYTES]);
    const view = new DataView(shifted.buffer, shifted.byteOffset, shifted.byteLength);
    expect(codec.decode(view, 3)).toEqual(VALUE);
  });

  it.each([
    ["small", 256],
    ["small", -1],
    ["smallSigned", 128],
    ["medium", 0x1_0000],
    ["largeNetwork", 2 ** 32],
    ["large", -1],
    ["large", 1.5],
    ["large", Number.NaN],
    ["largeSigned", 2 ** 31],
    ["huge", 2n ** 64n],
    ["hugeSigned", 2n ** 63n],
    [
      "nested",
      [
        [1, 2, 3],
        [4, 5, 2 ** 32],
      ],
    ],
    ["many", Array.from({ length: 19 }, () => 0)],
    ["many", Array.from({ length: 20 }, () => 70_000)],
  ])("refuses what does not fit: %s %s", (field, wrong) => {
    const name = `every_kind.${field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}: `;
    expect(() => encode({ ...VALUE, [field]: wrong })).toThrow(RangeError);
    expect(() => encode({ ...VALUE, [field]: wrong })).toThrow(name);
  });
});

describe("the generated module", () => {
  it("names the layout by the digest that the loader computes", () => {
    expect(module["LAYOUT_DIGEST"]).toBe(digestOf(layoutOf(Btf.parse(objectPath))));
  });

  it("has enums without their common prefix, and their names in words", () => {
    expect(module["Colour"]).toEqual({ RED: 0, DARK_BLUE: 7 });
    expect(module["COLOUR_NAMES"]).toEqual({ 0: "red", 7: "dark-blue" });
    expect(module["OptionBits"]).toEqual({ A: 1, B: 2, C: 4 });
  });

  it("has every constant, and of several with one value the last one's name", () => {
    expect(module["Outcome"]).toEqual({ OK: 0, FAILURES: 4, TOO_BIG: 4, "404": 5 });
    expect(module["OUTCOME_NAMES"]).toEqual({ 0: "ok", 4: "too-big", 5: "404" });
    expect([module["PLACES"], module["NOWHERE"]]).toEqual([16, 0xffff_ffff]);
  });

  it("has sizes and the table of maps", () => {
    expect(module["EVERY_KIND_SIZE"]).toBe(BYTES.length);
    expect(module["MAPS"]).toMatchObject({
      kinds: {
        name: "kinds",
        kind: "hash",
        type: 1,
        keySize: 4,
        valueSize: BYTES.length,
        maxEntries: 8,
        flags: 0,
      },
      sums: { kind: "percpu-array", key: { name: "u32", size: 4 }, value: { name: "u64", size: 8 } },
      events: { kind: "ringbuf", keySize: 0, valueSize: 0 },
    });
    expect((module["MAPS"] as Record<string, object>)["events"]).not.toHaveProperty("key");
  });

  it("imports nothing, and passes the strictest type check with the types that it promises", () => {
    expect(readFileSync(modulePath, "utf8")).not.toMatch(/\bimport\b/);
    writeFileSync(
      join(folder, "use.ts"),
      `import { MAPS, type EveryKind, Colour, OptionBits, type Codec } from "./layout.ts";
       const codec: Codec<EveryKind> = MAPS.kinds.value;
       export const closed = (value: EveryKind): 0 | 7 => value.colour;
       export const set = (value: EveryKind): EveryKind => ({ ...value, options: OptionBits.A | OptionBits.C });
       export const tuple = (value: EveryKind): number => value.nested[1][2] + value.pairs[1].second;
       // @ts-expect-error a third row is out of the tuple
       export const beyond = (value: EveryKind) => value.nested[2];
       // @ts-expect-error reserved fields are not part of the interface
       export const hidden = (value: EveryKind) => value.reserved;
       // @ts-expect-error 64 bits are bigints
       export const big = (value: EveryKind): number => value.huge;
       export default [codec, Colour.DARK_BLUE satisfies 7, MAPS.kinds.kind satisfies "hash"];`,
    );
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: join(root, "tsconfig.json"),
        compilerOptions: { types: [] },
        include: ["layout.ts", "use.ts"],
        exclude: [],
      }),
    );
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const checked = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
    expect({ output: checked.stdout, status: checked.status }).toEqual({ output: "", status: 0 });
  });
});

describe("tools/layout.ts", () => {
  it("does not rewrite a file that is up to date, and replaces one that is not", () => {
    const long = new Date("2020-01-01");
    utimesSync(modulePath, long, long);
    expect(generate(objectPath, modulePath).stdout).toMatch(/: up to date\n$/);
    expect(statSync(modulePath).mtime).toEqual(long);
    const code = readFileSync(modulePath, "utf8");
    writeFileSync(modulePath, `${code}// changed\n`);
    expect(generate(objectPath, modulePath).stdout).toMatch(/: written\n$/);
    expect(readFileSync(modulePath, "utf8")).toBe(code);
  });

  it("reports in one line what it cannot read, and writes nothing", () => {
    const gap = object(`struct s { __u8 a; __u32 b; }; ${mapOf("struct s")}`);
    const { status, stderr, stdout } = generate(gap, join(folder, "none.ts"));
    expect(status).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toBe(
      "layout: read layout of struct s, field b: 3 bytes of padding before it; name them reserved\n",
    );
    expect(() => statSync(join(folder, "none.ts"))).toThrow("ENOENT");
  });

  it("reports a missing object", () => {
    const { status, stderr } = generate(join(folder, "absent.o"), join(folder, "none.ts"));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^layout: .*absent\.o.*\n$/);
  });
});
