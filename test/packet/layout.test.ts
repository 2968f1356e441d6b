// The generated codecs against the compiler: a program reads every struct field by field, on either side's bytes.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BpfMap, BpfObject, type BpfProgram } from "bpf-ts";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import * as gen from "../../src/gen/layout.ts";

/** Where the program expects the struct, in the packet. */
const STRUCT_OFFSET = 16;

const CODECS: readonly gen.Codec<unknown>[] = [
  gen.nodeCodec,
  gen.endpointCodec,
  gen.sourceV4KeyCodec,
  gen.sourceV6KeyCodec,
  gen.sourceCodec,
  gen.addressV4KeyCodec,
  gen.addressV6KeyCodec,
  gen.cidrV4KeyCodec,
  gen.cidrV6KeyCodec,
  gen.cidrFilterCodec,
  gen.closedFilterCodec,
  gen.frontendFilterCodec,
  gen.identityCodec,
  gen.cidrFilterCodec,
  gen.portClassCodec,
  gen.rowCodec,
  gen.flowV4KeyCodec,
  gen.flowV6KeyCodec,
  gen.flowBucketV4Codec,
  gen.flowBucketV6Codec,
  gen.flowSecretCodec,
  gen.flowStatisticsCodec,
  gen.flowRequestCodec,
  gen.fragmentKeyCodec,
  gen.fragmentCodec,
  gen.countersCodec,
  gen.eventCodec,
  gen.eventBucketCodec,
  gen.rateCodec,
  gen.serviceV4KeyCodec,
  gen.serviceV6KeyCodec,
  gen.domainNameKeyCodec,
  gen.domainNameCodec,
  gen.namePolicyKeyCodec,
  gen.namePolicyCodec,
  gen.namedAddressKeyCodec,
  gen.namedAddressCodec,
  gen.questionKeyCodec,
  gen.questionCodec,
  gen.nameRingKeyCodec,
  gen.nameRingEntryCodec,
  gen.nameCountersCodec,
  gen.uplinkCodec,
  gen.uplinkCountersCodec,
];

const folder = mkdtempSync(join(tmpdir(), "wt-layout-"));
let object: BpfObject | undefined;
let numbers: BpfMap | undefined;

beforeAll(async () => {
  const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const multiarch = execFileSync("gcc", ["-print-multiarch"], { encoding: "utf8" }).trim();
  const compiler = process.env["CLANG"] ?? "clang-19";
  const flags = ["-std=gnu2x", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"];
  const includes = ["-I", file("../../bpf"), "-idirafter", `/usr/include/${multiarch}`];
  const output = join(folder, "layout.bpf.o");
  execFileSync(compiler, [...flags, ...includes, "-c", file("layout.bpf.c"), "-o", output]);
  object = BpfObject.open(output);
  await object.load();
  numbers = object.map("numbers");
});

afterAll(() => {
  numbers?.close();
  object?.close();
  rmSync(folder, { recursive: true, force: true });
});

const reader = (name: string): BpfProgram => present(object, "the object").program(`read_${name}`);

/** What the C program reads in these bytes. */
function readByC(name: string, bytes: Uint8Array): bigint[] {
  using program = reader(name);
  const { result: count } = program.testRun({ data: Buffer.concat([Buffer.alloc(STRUCT_OFFSET), bytes]) });
  expect(count).toBeGreaterThan(0);
  return Array.from({ length: count }, (_, place) => {
    const number = numbers?.lookup(Uint8Array.from([place & 0xff, place >> 8, 0, 0]));
    return number?.readBigUInt64LE(0) ?? -1n;
  });
}

/** The numbers in a value, in the order of its fields, which is the order of the struct's. */
function numbersIn(value: unknown): bigint[] {
  if (typeof value === "number" || typeof value === "bigint") return [BigInt(value)];
  return Object.values(value as object).flatMap(numbersIn);
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

describe("every struct that crosses", () => {
  it("is among those that the program reads", () => {
    const generated = Object.entries(gen).filter(([name]) => name.endsWith("Codec"));
    const structs = generated.filter(([name]) => !/^u\d+Codec$/.test(name)).map(([, codec]) => codec);
    // Without a program of their own: parts of others, and per-CPU caches and scratch.
    const parts = [gen.addressV6Codec, gen.bitsCodec, gen.countCodec, gen.nameSlotCodec];
    const flows = [gen.flowEntryV4Codec, gen.flowEntryV6Codec];
    const own = [
      ...flows,
      gen.cachedPeerV4Codec,
      gen.cachedPeerV6Codec,
      gen.cachedFlowV4Codec,
      gen.cachedFlowV6Codec,
      gen.scratchCodec,
      gen.dnsScratchCodec,
      gen.tcpHeaderCodec,
      gen.tcpSegmentCodec,
    ];
    expect(new Set<unknown>(structs)).toEqual(new Set<unknown>([...CODECS, ...parts, ...own]));
  });

  describe.each(CODECS.map((codec) => ({ name: codec.name, codec })))("$name", ({ name, codec }) => {
    const anyBytes = fc.uint8Array({ minLength: codec.size, maxLength: codec.size });

    it("has the compiler's size", () => {
      using program = reader(name);
      const packet = (size: number) => ({ data: Buffer.alloc(STRUCT_OFFSET + size) });
      expect(program.testRun(packet(codec.size - 1)).result).toBe(0);
      expect(program.testRun(packet(codec.size)).result).toBeGreaterThan(0);
    });

    it("is decoded to what C reads", () => {
      fc.assert(
        fc.property(anyBytes, (bytes) => {
          expect(numbersIn(codec.decode(viewOf(bytes), 0))).toEqual(readByC(name, bytes));
        }),
        { numRuns: 50 },
      );
    });

    it("is encoded so that C reads it", () => {
      fc.assert(
        fc.property(anyBytes, anyBytes, (bytes, garbage) => {
          const value = codec.decode(viewOf(bytes), 0);
          codec.encode(value, viewOf(garbage), 0);
          expect(readByC(name, garbage)).toEqual(numbersIn(value));
        }),
        { numRuns: 50 },
      );
    });

    it("is encoded to equal bytes if it is equal, whatever was there before", () => {
      fc.assert(
        fc.property(anyBytes, anyBytes, (bytes, garbage) => {
          const value = codec.decode(viewOf(bytes), 0);
          const clean = new Uint8Array(codec.size);
          codec.encode(value, viewOf(clean), 0);
          codec.encode(value, viewOf(garbage), 0);
          expect(garbage).toEqual(clean);
        }),
      );
    });
  });
});
