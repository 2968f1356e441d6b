// Probes which of the features that the datapath needs the running kernel has; nothing is pinned, attached or left behind.

import { kernelFeature, ProgramType } from "bpf-ts";
import { MAPS } from "../gen/layout.ts";

export { libbpfVersion } from "bpf-ts";
export { hookOf } from "./hooks.ts";

/** Map types ("lpm-trie") that the datapath uses and the kernel lacks. */
export function missingMapKinds(): string[] {
  const kinds = new Map(Object.values(MAPS).map(({ kind, type }) => [kind, type]));
  return [...kinds].flatMap(([kind, type]) => (kernelFeature({ kind: "mapType", type }) ? [] : [kind]));
}

const PROGRAM_TYPES = { tc: ProgramType.SCHED_CLS, xdp: ProgramType.XDP } as const;

export const hasProgramType = (name: keyof typeof PROGRAM_TYPES): boolean =>
  kernelFeature({ kind: "programType", type: PROGRAM_TYPES[name] });

// The version of libbpf that the bindings use, for modules that may not import the bindings themselves.
