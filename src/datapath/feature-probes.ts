// What the running kernel can do of what the datapath needs, asked by trying; nothing is pinned, attached or left behind.

import { kernelFeature, ProgramType } from "bpf-ts";
import { MAPS } from "../gen/layout.ts";

export { libbpfVersion } from "bpf-ts";
export { hookOf } from "./hooks.ts";

/** Kinds of maps ("lpm-trie") that the datapath uses and the kernel lacks. */
export function missingMapKinds(): string[] {
  const kinds = new Map(Object.values(MAPS).map(({ kind, type }) => [kind, type]));
  return [...kinds].flatMap(([kind, type]) => (kernelFeature({ kind: "mapType", type }) ? [] : [kind]));
}

const PROGRAM_TYPES = { tc: ProgramType.SCHED_CLS, xdp: ProgramType.XDP } as const;

export const hasProgramType = (name: keyof typeof PROGRAM_TYPES): boolean =>
  kernelFeature({ kind: "programType", type: PROGRAM_TYPES[name] });

// The version of the libbpf that the bindings run on, for those who may not ask the bindings themselves.
