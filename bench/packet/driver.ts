// The bench's own BPF object: empty programs, and drivers that give a program under test the packets of many peers.

import { fileURLToPath } from "node:url";
import { BpfObject, type BpfProgram } from "bpf-ts";
import type { Family } from "../../src/base/ip.ts";
import { withBpfObject } from "../common/compile.ts";
import type { Peers } from "./peers.ts";

export type Hook = "tc" | "xdp";

/** Which address of a packet is the peer's. */
export type PeerIs = "source" | "destination";

export interface Course {
  readonly hook: Hook;
  readonly peerIs: PeerIs;
  readonly peers: Peers;
  /** Drives the answers to the packets of these peers: their port is the destination's. */
  readonly answer?: boolean;
}

export interface Driver {
  /** The program that does nothing. */
  nothing(hook: Hook): BpfProgram;
  /** The driver of a course, set to its first peer, with `target` behind it. */
  drive(course: Course, target: BpfProgram): Promise<BpfProgram>;
  close(): void;
}

/** Compiles, loads. Errors: BpfError; what the compiler says. */
export async function openDriver(): Promise<Driver> {
  const object = openCompiled();
  try {
    await object.load();
  } catch (error) {
    object.close();
    throw error;
  }
  const held: { [family in Family]?: Peers } = {};
  return {
    nothing: (hook) => object.program(`${hook}_nothing`),
    async drive({ hook, peerIs, peers, answer = false }, target) {
      if (held[peers.family] !== peers) {
        using map = object.map(`peers_v${peers.family}`);
        await map.updateBatch(places(peers.count), peers.bytes, peers.count);
        held[peers.family] = peers;
      }
      using targets = object.map(`target_${hook}`);
      await targets.setProgram(words(0), target);
      using variables = object.map(".bss");
      variables.update(words(0), words(0, Math.log2(peers.count), peers.stride, Number(answer)));
      return object.program(`${hook}_${peerIs === "source" ? "from" : "to"}_v${peers.family}`);
    },
    close: () => object.close(),
  };
}

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

/** The keys 0 to `count` - 1 of an array. */
const places = (count: number): Uint8Array =>
  new Uint8Array(Uint32Array.from({ length: count }, (_, place) => place).buffer);

function openCompiled(): BpfObject {
  const source = fileURLToPath(new URL("driver.bpf.c", import.meta.url));
  return withBpfObject(source, (path) => BpfObject.open(path));
}
