// What the tests of uplinks share: good and bad neighbourhoods, and the program that distinguishes them.

import { release } from "node:os";
import { afterAll, beforeAll, beforeEach, expect } from "vitest";
import { present } from "../../src/base/assert.ts";
import type { Address } from "../../src/base/ip.ts";
import {
  readDenied,
  readDeniedCounts,
  readScreened,
  writeDenied,
} from "../../src/datapath/denied-prefix-maps.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { SCREENED_NAMES, Screened } from "../../src/gen/layout.ts";
import { address } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import { frame, udpSegment } from "./frames.ts";

/** Applied before each test. */
export const DENIED = ["10.7.0.0/16", "10.7.1.0/24", "192.0.2.9/32", "fd07::/64", "fd07::9/128"];

export const HERE4 = address("10.1.0.1");
export const HERE6 = address("fd01::1");
export const FOES = [
  address("10.7.2.1"),
  address("10.7.1.1"),
  address("192.0.2.9"),
  address("fd07::1"),
] as const;
export const FRIENDS = [address("10.8.0.1"), address("192.0.2.8"), address("fd08::1")] as const;
export const FOE4 = FOES[0];
export const FOE6 = FOES[3];

export const isFoe = (each: Address): boolean => (FOES as readonly Address[]).includes(each);
export const here = (of: Address): Address => (of.family === 4 ? HERE4 : HERE6);
export const from = (source: Address): Uint8Array => frame(source, here(source), udpSegment(40_000, 53));

/** Why tests skip if a run may not. */
export const CANNOT_SPLIT_FRAMES =
  "this kernel does not let a test run say how much of a frame is in its first part (Linux 6.18 is the first)";

const [major = 0, minor = 0] = release().split(".").map(Number);
/** Whether a test run may set how much is in the first part of a frame: data_end in struct xdp_md, from Linux 6.18 on. */
export const KERNEL_SPLITS_FRAMES = major > 6 || (major === 6 && minor >= 18);

/** A struct xdp_md that sets it, and the interface: its second and fourth field. */
export function firstPart(bytes: number, ifindex = 0): Uint8Array {
  const context = Buffer.alloc(24);
  context.writeUInt32LE(bytes, 4);
  context.writeUInt32LE(ifindex, 12);
  return context;
}

export const XDP_DROP = 1;
export const XDP_PASS = 2;

export interface Uplink {
  readonly tables: Bench["maps"]["tables"];
  /** Runs a frame through the program: the verdict in words. Throws if verdict and counters do not agree. */
  screen(wire: Uint8Array, context?: Uint8Array): string;
  /** Packets counted for a prefix of the active list. */
  countOf(prefix: string): Promise<number>;
}

/** The program for the tests of one file. */
export function useUplink(): () => Uplink {
  let bench: Bench | undefined;
  beforeAll(async () => {
    bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true });
  });
  beforeEach(async () => {
    await writeDenied(present(bench, "the bench").maps.tables, DENIED);
  });
  afterAll(() => bench?.close());
  return () => uplinkOf(present(bench, "the bench, open only while tests run"));
}

function uplinkOf({ maps: { tables }, guard }: Bench): Uplink {
  return {
    tables,
    screen(wire, context) {
      const before = readScreened(tables);
      const program = present(guard, "the XDP programs").programs.fromUplink;
      const { result } = program.testRun({
        data: wire,
        dataOutSize: 0,
        ...(context === undefined ? {} : { context }),
      });
      const moved = readScreened(tables).flatMap(({ packets, bytes }, screened) => {
        const was = present(before[screened], "a counter");
        return packets === was.packets ? [] : [[screened, packets - was.packets, bytes - was.bytes] as const];
      });
      const screened = moved[0]?.[0] ?? -1;
      expect(moved).toEqual([[screened, 1n, BigInt(wire.length)]]);
      expect(result).toBe(screened < Screened.DROPS ? XDP_PASS : XDP_DROP);
      return present(SCREENED_NAMES[screened], `a name for ${screened}`);
    },
    async countOf(prefix) {
      const number = present((await readDenied(tables))?.get(prefix), prefix);
      return Number((await readDeniedCounts(tables)).get(number)?.packets ?? 0n);
    },
  };
}
