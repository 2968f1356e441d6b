// Single steps of what the programs do, as programs of their own over the maps of a loaded datapath.

import { fileURLToPath } from "node:url";
import { BpfObject, type BpfProgram } from "bpf-ts";
import { MAP_NAMES } from "../../src/datapath/pins.ts";
import type { Datapath } from "../../src/datapath/program-loader.ts";
import { withBpfObject } from "../common/compile.ts";

/**
 * A look-up of a flow that is there, a new flow written, a look-up of an address, a longest match; IPv4, of packets to the pod. And one reading
 * of a clock.
 */
export type Primitive =
  | "find_one_flow"
  | "make_flow"
  | "find_address"
  | "match_cidr"
  | "clock_jiffies"
  | "clock_coarse"
  | "clock_monotonic";

export interface Primitives {
  program(name: Primitive): BpfProgram;
  close(): void;
}

/** @throws BpfError */
export async function openPrimitives(datapath: Datapath): Promise<Primitives> {
  const source = fileURLToPath(new URL("primitives.bpf.c", import.meta.url));
  const object = withBpfObject(source, (path) => BpfObject.open(path));
  try {
    const used = new Set(object.maps.map(({ name }) => name));
    for (const name of MAP_NAMES) if (used.has(name)) object.reuseMap(name, datapath.map(name));
    await object.load();
    return { program: (name) => object.program(name), close: () => object.close() };
  } catch (thrown) {
    object.close();
    throw thrown;
  }
}
