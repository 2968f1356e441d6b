// What the running kernel can do of what the datapath needs, asked by trying; nothing is pinned, attached or left behind.

import { kernelFeature, ProgramType } from "bpf-ts";
import { MAPS } from "../gen/layout.ts";
import { guardPathOf } from "./guard.ts";
import { openObject } from "./object.ts";
import { GUARD_PROGRAMS, PROGRAMS } from "./pins.ts";

export { libbpfVersion } from "bpf-ts";
export { hookOf } from "./attach.ts";

/** Kinds of maps ("lpm-trie") that the datapath uses and the kernel lacks. */
export function missingMapKinds(): string[] {
  const kinds = new Map(Object.values(MAPS).map(({ kind, type }) => [kind, type]));
  return [...kinds].flatMap(([kind, type]) => (kernelFeature({ kind: "mapType", type }) ? [] : [kind]));
}

const PROGRAM_TYPES = { tc: ProgramType.SCHED_CLS, xdp: ProgramType.XDP } as const;

export const hasProgramType = (name: keyof typeof PROGRAM_TYPES): boolean =>
  kernelFeature({ kind: "programType", type: PROGRAM_TYPES[name] });

export interface Verified {
  readonly program: string;
  /** How many instructions the verifier looked at; its limit is a million. */
  readonly instructions: number;
  /** Whether it runs as machine code; else it is interpreted. */
  readonly jit: boolean;
}

/** Loads the programs as the agent would, over maps of their own, and drops them. Errors: OperationError, BpfError. */
export const tryPrograms = (objectPath: string): Promise<Verified[]> =>
  tryLoad(objectPath, Object.values(PROGRAMS));

/** The same for those of XDP. */
export const tryGuard = (objectPath: string): Promise<Verified[]> =>
  tryLoad(guardPathOf(objectPath), Object.values(GUARD_PROGRAMS));

async function tryLoad(path: string, names: readonly string[]): Promise<Verified[]> {
  using object = openObject(path);
  await object.load();
  return names.map((program) => {
    using loaded = object.program(program);
    const { verifiedInstructions, jitedSize } = loaded.info;
    return { program, instructions: verifiedInstructions, jit: jitedSize > 0 };
  });
}
