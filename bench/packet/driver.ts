// The bench's own BPF object: empty programs, and drivers that give a program under test the packets of many peers.

import { fileURLToPath } from "node:url";
import { BpfObject, type BpfProgram } from "bpf-ts";
import { present } from "../../src/base/assert.ts";
import type { Family } from "../../src/base/ip.ts";
import { withBpfObject } from "../common/compile.ts";
import type { Peers } from "./peers.ts";

export const HOOKS = ["tc", "xdp"] as const;
export type Hook = (typeof HOOKS)[number];

/** Which address of a packet is the peer's. */
export type PeerIs = "source" | "destination";

/** What the CPU has forgotten before each packet: its caches, or the branches of the program too. */
export type Cold = "caches" | "branches";

export interface Course {
  readonly hook: Hook;
  /** Whose packets these are, one peer's after another's; without, the same packet each time. */
  readonly from?: { readonly peerIs: PeerIs; readonly peers: Peers };
  /** Drives the answers to the packets of these peers: their port is the destination's. */
  readonly answer?: boolean;
  /** Evicts that before each packet, and measures by itself. */
  readonly cold?: Cold | undefined;
}

export interface Driver {
  /** The program that does nothing. */
  nothing(hook: Hook): BpfProgram;
  /** The tc program that drops everything. */
  drop(): BpfProgram;
  /** The driver of a course, set to its first peer, with `target` behind it. */
  drive(course: Course, target: BpfProgram): Promise<BpfProgram>;
  /**
   * Nanoseconds of each packet that a cold driver has had since drive(), at most TIMES: every other one goes to the target.
   * The first goes there too, and the last is not measured.
   */
  times(packets: number): { readonly target: readonly number[]; readonly nothing: readonly number[] };
  close(): void;
}

/** Compiles, loads. Errors: BpfError; what the compiler says. */
export async function openDriver(): Promise<Driver> {
  const object = openCompiled();
  try {
    await object.load();
    for (const hook of HOOKS) {
      using targets = object.map(`target_${hook}`);
      await targets.setProgram(words(1), object.program(`${hook}_nothing`));
    }
  } catch (error) {
    object.close();
    throw error;
  }
  const held: { [family in Family]?: Peers } = {};
  return {
    nothing: (hook) => object.program(`${hook}_nothing`),
    drop: () => object.program("tc_drop"),
    async drive({ hook, from, answer = false, cold }, target) {
      if (from !== undefined && held[from.peers.family] !== from.peers) {
        const { family, bytes, count } = from.peers;
        using map = object.map(`peers_v${family}`);
        await map.updateBatch(places(count), bytes, count);
        held[family] = from.peers;
      }
      using targets = object.map(`target_${hook}`);
      await targets.setProgram(words(0), target);
      using variables = object.map(".bss");
      const { count = 1, stride = 0 } = from?.peers ?? {};
      const start = words(0, Math.log2(count), stride, Number(answer), Number(cold === "branches"));
      variables.update(words(0), new Uint8Array(Buffer.concat([start], COURSE_BYTES)));
      const suffix = from && `${from.peerIs === "source" ? "from" : "to"}_v${from.peers.family}`;
      return object.program([hook, cold && "cold", suffix].filter(Boolean).join("_"));
    },
    times(packets) {
      using map = object.map("times");
      const bytes = Buffer.from(present(map.lookup(words(0)), "the packets' times"));
      // The last packet's end is not seen.
      const all = Array.from({ length: packets - 1 }, (_, turn) => bytes.readUInt32LE(turn * 4));
      const half = (odd: number) => all.filter((_, turn) => turn % 2 === odd);
      return { target: half(0), nothing: half(1) };
    },
    close: () => object.close(),
  };
}

/** Of `course` in driver.bpf.c. */
const COURSE_BYTES = 48;

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

/** The keys 0 to `count` - 1 of an array. */
const places = (count: number): Uint8Array =>
  new Uint8Array(Uint32Array.from({ length: count }, (_, place) => place).buffer);

function openCompiled(): BpfObject {
  const source = fileURLToPath(new URL("driver.bpf.c", import.meta.url));
  return withBpfObject(source, (path) => BpfObject.open(path));
}
