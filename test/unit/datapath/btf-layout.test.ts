// The layout shared by C and TypeScript, as read from compiled objects: parsing, refusals, digests.

import { describe, expect, it } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import { digestOf, type Layout, layoutOf } from "../../../src/datapath/btf-layout.ts";
import { nameOf } from "../../../src/datapath/btf-types.ts";
import { anchor, btfCompiler, mapOf } from "./objects.ts";

const btfOf = btfCompiler();
const read = (code: string): Layout => layoutOf(btfOf(code));
const digest = (code: string): string => digestOf(read(code));

/** The fields of a struct as "offset name type". */
const fieldsOf = (layout: Layout, name: string): string[] | undefined =>
  layout.structs
    .find((struct) => struct.name === name)
    ?.fields.map((field) => `${field.offset} ${field.name} ${nameOf(field.type)}`);

describe("parsing", () => {
  it("finds network order through typedefs and qualifiers", () => {
    const layout = read(`
      typedef __be16 port; typedef const volatile port pinned_port;
      struct s { port a; pinned_port b; __u32 c; __be64 d; __u64 e; __be32 f; __u32 g; };
      ${mapOf("struct s")}`);
    expect(fieldsOf(layout, "s")).toEqual([
      "0 a be16",
      "2 b be16",
      "4 c u32",
      "8 d be64",
      "16 e u64",
      "24 f be32",
      "28 g u32",
    ]);
  });

  it("keeps signs and widths of integers", () => {
    const layout = read(
      `struct s { signed char a; __u8 b; short c; int d; long long e; }; ${mapOf("struct s")}`,
    );
    expect(fieldsOf(layout, "s")).toEqual(["0 a i8", "1 b u8", "2 c i16", "4 d i32", "8 e i64"]);
  });

  it("keeps the shape of nested arrays, of integers and of structs", () => {
    const layout = read(`
      struct point { __u16 x; __u16 y; };
      struct s { __u32 a[3][2]; struct point b[2][4]; __be16 c[6]; };
      ${mapOf("struct s")}`);
    expect(fieldsOf(layout, "s")).toEqual(["0 a u32[3][2]", "24 b struct point[2][4]", "56 c be16[6]"]);
    expect(layout.structs.map(({ name }) => name)).toEqual(["point", "s"]);
  });

  it("reads enums of a fixed type, in fields and anchored, and those without a name as constants", () => {
    const layout = read(`
      enum colour : __u8 { COLOUR_RED = 1, COLOUR_BLUE = 200 };
      enum level : short { LEVEL_LOW = -3, LEVEL_HIGH = 3 };
      struct s { enum colour colour; __u8 reserved[3]; };
      ${mapOf("struct s")}
      ${anchor("enum level level; enum : __u32 { PLACES = 16, NOWHERE = 0xffffffff } places;")}`);
    expect(fieldsOf(layout, "s")).toEqual(["0 colour enum colour", "1 reserved u8[3]"]);
    expect(layout.enums.map(({ name, underlying }) => `${name} ${nameOf(underlying)}`)).toEqual([
      "colour u8",
      "level i16",
    ]);
    expect(layout.enums[1]?.values).toEqual([
      { name: "LEVEL_LOW", value: -3 },
      { name: "LEVEL_HIGH", value: 3 },
    ]);
    expect(layout.constants).toEqual(
      new Map([
        ["PLACES", 16],
        ["NOWHERE", 0xffff_ffff],
      ]),
    );
  });

  it("reads structs that are only anchored, and all inside them", () => {
    const layout = read(
      `struct inner { __u32 a; }; struct event { struct inner b; }; ${anchor("struct event e;")}`,
    );
    expect(layout.structs.map(({ name }) => name)).toEqual(["inner", "event"]);
    expect(layout.maps).toEqual([]);
  });

  it("reads maps, and the maps inside maps", () => {
    const layout = read(`
      struct key { __be32 a; }; struct value { __u64 b; };
      struct { __uint(type, 11); __uint(map_flags, 1); __uint(max_entries, 100000);
               __type(key, struct key); __type(value, struct value); } prefixes SEC(".maps");
      struct inside { __uint(type, 2); __uint(map_flags, 4096); __uint(max_entries, 3);
               __type(key, __u32); __type(value, __u16); };
      struct { __uint(type, 12); __uint(max_entries, 7); __type(key, __u32);
               __array(values, struct inside); } outer SEC(".maps");
      struct { __uint(type, 27); __uint(max_entries, 4096); } events SEC(".maps");`);
    const u32 = { kind: "integer", bytes: 4, signed: false, order: "host" };
    expect(layout.maps).toEqual([
      {
        name: "prefixes",
        type: 11,
        kind: "lpm-trie",
        flags: 1,
        maxEntries: 100_000,
        key: { kind: "struct", name: "key", size: 4 },
        value: { kind: "struct", name: "value", size: 8 },
      },
      {
        name: "outer",
        type: 12,
        kind: "array-of-maps",
        flags: 0,
        maxEntries: 7,
        key: u32,
        value: u32,
        inner: {
          name: "inside",
          type: 2,
          kind: "array",
          flags: 4096,
          maxEntries: 3,
          key: u32,
          value: { ...u32, bytes: 2 },
        },
      },
      { name: "events", type: 27, kind: "ringbuf", flags: 0, maxEntries: 4096 },
    ]);
  });
});

describe("refusing", () => {
  it.each([
    ["padding between fields", "__u8 a; __u32 b;", "struct s, field b: 3 bytes of padding before it"],
    ["padding at the end", "__u32 a; __u8 b;", "struct s, field b: 3 bytes of padding after it"],
    [
      "padding in a struct inside",
      "struct t { __u16 x; __u64 y; } a;",
      "struct t, field y: 6 bytes of padding",
    ],
    ["a bitfield", "__u32 a : 4; __u32 b : 28;", "struct s, field a: a bitfield"],
    ["a bitfield of full bytes", "__u32 a : 8; __u32 b : 24;", "struct s, field a: a bitfield"],
    ["a union", "union { __u32 x; __be32 y; } a;", "struct s, field a: a union"],
    ["a union without a name", "union { __u32 x; __be32 y; };", "struct s, field (unnamed): a union"],
    [
      "a struct member without a name",
      "struct t { __u32 x; } a; struct { __u32 y; };",
      "struct without a name",
    ],
    ["a pointer", "void *a;", "struct s, field a: a pointer"],
    ["a bool", "_Bool a;", "struct s, field a: a bool"],
    ["a floating-point number", "double a;", "struct s, field a: a type of kind float"],
    ["an integer of 16 bytes", "__int128 a;", "struct s, field a: an integer of 16 bytes"],
    ["an array without a length", "__u32 a; __u32 b[];", "struct s, field b: an array without elements"],
    ["an enum of 8 bytes", "enum e : __u64 { E = 1 } a;", "struct s, field a: an enum of 8 bytes"],
  ])("%s, naming struct and field", (_, members, message) => {
    const btf = btfOf(`struct s { ${members} }; ${mapOf("struct s")}`);
    expect(() => layoutOf(btf)).toThrow(OperationError);
    expect(() => layoutOf(btf)).toThrow(message);
  });

  it.each([
    [
      "a struct without a name as value",
      mapOf("struct { __u32 a; }"),
      "map things, value: a struct without a name",
    ],
    ["an array as value", mapOf("__u8[16]"), "map things, value: an array"],
    [
      "a struct without fields",
      `struct s {}; ${mapOf("struct s")}`,
      "map things, value: a type without bytes",
    ],
    [
      "an attribute that is not understood",
      'struct { __uint(type, 1); __uint(pinning, 1); } things SEC(".maps");',
      "map things, pinning: not understood",
    ],
    [
      "a type of map that is not known",
      'struct { __uint(type, 999); } things SEC(".maps");',
      "map things, type: 999",
    ],
    [
      "an anchor that is not a struct",
      'const int a __attribute__((section(".layout"))) = 0;',
      "section .layout",
    ],
  ])("%s", (_, code, message) => {
    const btf = btfOf(code);
    expect(() => layoutOf(btf)).toThrow(OperationError);
    expect(() => layoutOf(btf)).toThrow(message);
  });

  it("two types of one name", () => {
    const btf = btfOf(`
      struct s { __u32 a; }; ${mapOf("struct s", "one")}
      __attribute__((noinline)) int f(void) { struct s { __u64 b; }; ${mapOf("struct s", "two").replace("struct {", "static struct {")} return 0; }`);
    expect(() => layoutOf(btf)).toThrow("there is more than one struct s");
  });

  it("an object for a big-endian machine", () => {
    const code = `struct s { __u32 a; }; ${mapOf("struct s")}`;
    expect(() => layoutOf(btfOf(code, "bpfeb"))).toThrow("big-endian");
    expect(() => layoutOf(btfOf(code, "bpfel"))).not.toThrow();
  });
});

describe("the digest", () => {
  const inner =
    "struct inside { __uint(type, 2); __uint(max_entries, 3); __type(key, __u32); __type(value, __u32); };";
  const parts = {
    enum: "enum colour : __u8 { COLOUR_RED = 1, COLOUR_BLUE = 2 };",
    struct: "struct s { __u32 a; __be32 b; enum colour c; __u8 d[3]; };",
    map: 'struct { __uint(type, 1); __uint(max_entries, 8); __uint(map_flags, 1); __type(key, __u32); __type(value, struct s); } m SEC(".maps");',
    other: `${inner} struct { __uint(type, 12); __uint(max_entries, 8); __type(key, __u32); __array(values, struct inside); } n SEC(".maps");`,
    anchor: anchor("enum : __u32 { PLACES = 16 } places;"),
  };
  const original = Object.values(parts).join("\n");
  const expected = digest(original);

  it("has sixteen hexadecimal digits", () => {
    expect(expected).toMatch(/^[0-9a-f]{16}$/);
  });

  it.each([
    ["maximum of entries", "max_entries, 8", "max_entries, 9000"],
    ["maximum of entries of an inner map", "max_entries, 3", "max_entries, 4"],
    ["spelling of a type", "__u32 a;", "unsigned int a;"],
    ["code", parts.anchor, `${parts.anchor} int f(void) { return 1; }`],
  ])("does not change with the %s", (_, from, to) => {
    expect(original).toContain(from);
    expect(digest(original.replaceAll(from, to))).toBe(expected);
  });

  it("does not change with the order of declarations", () => {
    expect(digest([parts.enum, parts.struct, parts.anchor, parts.other, parts.map].join("\n"))).toBe(
      expected,
    );
  });

  it.each([
    ["a field's name", "__u32 a;", "__u32 aa;"],
    ["a field's byte order", "__be32 b;", "__u32 b;"],
    ["a field's sign", "__u32 a;", "int a;"],
    ["a field's width", "__u8 d[3];", "__u8 d[1]; __u16 e;"],
    ["a field's place", "__u32 a; __be32 b;", "__be32 b; __u32 a;"],
    ["a field more", "__u8 d[3];", "__u8 d[3]; __u32 e;"],
    ["an enum in a field", "enum colour c;", "__u8 c;"],
    ["a struct's name", "struct s", "struct t"],
    ["an enum's value", "COLOUR_BLUE = 2", "COLOUR_BLUE = 3"],
    ["an enum's constant", "COLOUR_BLUE", "COLOUR_GREEN"],
    ["a constant", "PLACES = 16", "PLACES = 32"],
    ["a map's name", "} m SEC", "} mm SEC"],
    ["a map's type", "__uint(type, 1);", "__uint(type, 9);"],
    ["a map's flags", "map_flags, 1", "map_flags, 0"],
    [
      "a map's key",
      "__type(key, __u32); __type(value, struct s)",
      "__type(key, __u64); __type(value, struct s)",
    ],
    ["an inner map's value", "__type(value, __u32)", "__type(value, __u64)"],
    ["an inner map's type", "__uint(type, 2);", "__uint(type, 1);"],
    ["a map less", parts.other, ""],
  ])("changes with %s", (_, from, to) => {
    expect(original).toContain(from);
    expect(digest(original.replaceAll(from, to))).not.toBe(expected);
  });
});
