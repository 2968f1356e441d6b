// Bringing the kernel from what it holds to what it should hold, in the one order that leaves no gap.

import { codeOf } from "../base/errors.ts";
import { type Attached, attach, attachedInterfaces, detach } from "../datapath/attach.ts";
import { diff, type Held } from "../state/diff.ts";
import type { State } from "../state/state.ts";
import type { Gate, InTurn } from "./gate.ts";
import type { Kernel } from "./kernel.ts";

export interface Applied {
  readonly generation: number;
  /** Whether anything had to be written. */
  readonly changed: boolean;
  /** Interfaces that went away before the programs could be attached. */
  readonly gone: readonly number[];
  /** Where the others' programs hang. */
  readonly attached: ReadonlyMap<number, Attached>;
  /** How long writing and attaching took. */
  readonly seconds: { readonly apply: number; readonly attach: number };
}

/**
 * 1. Write everything new beside what is in force. 2. Flip the generation. 3. Attach to new interfaces, whose entries now
 * stand; detach from those that are no endpoint any more. 4. Remove what is left over. A failure before 2 leaves the old
 * state in force, one after it the new; either way the caller reads the kernel again and goes on from there.
 */
export async function apply(kernel: Kernel, held: Held, want: State, gate?: Gate): Promise<Applied> {
  const begun = performance.now();
  const changes = diff(held, want);
  if (!changes.empty) {
    await kernel.maps.write(changes.prepare);
    await kernel.maps.flip();
  }
  const attaching = performance.now();
  const where = await attachAll(kernel, held, want, gate);
  const attach = (performance.now() - attaching) / 1_000;
  if (!changes.empty) await kernel.maps.write(changes.cleanup);
  const seconds = { apply: (performance.now() - begun) / 1_000 - attach, attach };
  return { generation: kernel.maps.generation(), changed: !changes.empty, seconds, ...where };
}

async function attachAll(
  { datapath, hook, fromPodHook, guard }: Kernel,
  held: Held,
  want: State,
  gate: Gate | undefined,
): Promise<Pick<Applied, "gone" | "attached">> {
  const gone: number[] = [];
  const attached = new Map<number, Attached>();
  const xdp = fromPodHook === "xdp" ? guard?.programs.fromPod : undefined;
  const inTurn: InTurn = gate?.inTurn ?? ((_, work) => work());
  for (const ifindex of want.endpoints.keys()) {
    try {
      attached.set(ifindex, await inTurn(ifindex, () => attach(datapath, ifindex, hook, xdp)));
    } catch (error) {
      if (codeOf(error) !== "ENODEV") throw error;
      gone.push(ifindex);
    }
  }
  for (const ifindex of new Set([...attachedInterfaces(datapath.root), ...held.state.endpoints.keys()])) {
    if (want.endpoints.has(ifindex) || gate?.holds(ifindex) === true) continue;
    await inTurn(ifindex, () => detach(datapath.root, ifindex));
  }
  return { gone, attached };
}
