// Moves the kernel from its actual state to the desired one, in the one order that leaves no gap.

import { codeOf, messageOf } from "../base/errors.ts";
import type { Attached } from "../datapath/hooks.ts";
import type { State } from "../state/desired-state.ts";
import { diff, type Held } from "../state/state-diff.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { Gate } from "./unclaimed-default-deny.ts";

export interface Applied {
  readonly generation: number;
  /** Whether anything had to be written. */
  readonly changed: boolean;
  /** Interfaces that went away before the programs could be attached. */
  readonly gone: readonly number[];
  /** Where the others' programs are attached. */
  readonly attached: ReadonlyMap<number, Attached>;
  /** Why the programs could not be attached to an interface, or detached from a former endpoint. */
  readonly failed: ReadonlyMap<number, string>;
  /** How long writing and attaching took. */
  readonly seconds: { readonly apply: number; readonly attach: number };
}

export interface ApplyOptions {
  readonly gate?: Gate | undefined;
  /** Interfaces on which the programs drop everything. */
  readonly shut?: readonly number[];
  /** Called as soon as the new state is enforced, on the interfaces that it returns. What is left over is removed afterwards. */
  readonly onEnforced?: ((attached: ReadonlyMap<number, Attached>) => void) | undefined;
  /** Set where the process goes on, and may replace the first filters of an interface by links later: gets what fails then. */
  readonly onLate?: ((ifindex: number, error: unknown) => void) | undefined;
  /**
   * Copies the flows from maps of another layout: first all existing ones, then those added in the meantime.
   */
  readonly copyFlows?: ((want: State, generation: number) => Promise<void>) | undefined;
  /**
   * A number is no longer in use, and the next update may give it another meaning: only a flip waits for the packets that have
   * looked it up.
   */
  readonly retiresIdentities?: boolean;
  /**
   * Where this agent's programs are attached already, on links that are still the same: the kernel is not asked again. What others
   * detach meanwhile, integrity.ts finds. Undefined if that must be found out.
   */
  readonly attached?: ReadonlyMap<number, Attached> | undefined;
  /** An update before may have written active values and failed before it advanced the generation. */
  readonly mustAdvance?: boolean;
  /** Others have changed the maps. Only the last step removes what they added, and answers that CPUs took from it until then must not last. */
  readonly repairs?: boolean;
}

/**
 * 1. Write everything new beside what is in force. 2. Flip the generation. 3. Attach to new interfaces, whose
 * entries exist by then; detach from former endpoints. 4. Remove what is left over. A failure before 2 leaves
 * the old state in force, one after it the new; either way the caller reads the kernel again and continues
 * from there.
 *
 * If only identities of addresses change (a pod that was added, removed or relabelled), their values are written in place, and the
 * generation advances without a flip: there is no grace period to wait for.
 *
 * After an upgrade the links run programs of another layout, over maps of their own, until 3. Their flows are
 * copied between 2 and 3, or connections would end there, and again after 3 for flows opened in the meantime.
 */
export async function apply(
  kernel: Kernel,
  held: Held,
  want: State,
  options: ApplyOptions = {},
): Promise<Applied> {
  const begun = performance.now();
  const changes = diff(held, want);
  const inPlace = options.retiresIdentities === true ? undefined : changes.inPlace;
  let where: Attachment = { gone: [], attached: new Map(), failed: new Map() };
  let attach = 0;
  const attachAndReport = async (): Promise<void> => {
    const attaching = performance.now();
    await options.copyFlows?.(want, kernel.maps.generation());
    where = await attachAll(kernel, held, want, options);
    await options.copyFlows?.(want, kernel.maps.generation());
    attach = (performance.now() - attaching) / 1_000;
    options.onEnforced?.(where.attached);
  };
  if (inPlace === undefined && !changes.empty) {
    await kernel.maps.write(changes.prepare);
    // Programs may be attached while the kernel waits for packets that read the other version.
    await kernel.maps.flip(0, attachAndReport);
    await kernel.maps.write(changes.cleanup);
    if (options.repairs === true) await kernel.maps.advance();
  } else {
    if (inPlace !== undefined) await kernel.maps.write(inPlace);
    if (inPlace !== undefined || options.mustAdvance === true) await kernel.maps.advance();
    await attachAndReport();
  }
  const seconds = { apply: (performance.now() - begun) / 1_000 - attach, attach };
  return { generation: kernel.maps.generation(), changed: !changes.empty, seconds, ...where };
}

/** The kernel's numbers of interfaces are positive ints. */
const IFINDEX_MAX = 0x7fff_ffff;

type Attachment = Pick<Applied, "gone" | "attached" | "failed">;

/**
 * An interface that rejects the programs does not keep them from the others. Interfaces with programs are left alone: while links
 * replace the first filters, each question about one may wait for the kernel's rtnl lock as long as a grace period, and with
 * hundreds of them that would hold up every update for seconds.
 */
async function attachAll(
  { attachments }: Kernel,
  held: Held,
  want: State,
  { gate, shut = [], onLate, attached: known }: ApplyOptions,
): Promise<Attachment> {
  const gone: number[] = [];
  const attached = new Map<number, Attached>();
  const failed = new Map<number, string>();
  // Shut interfaces have no entry: the programs drop everything there.
  const wanted = new Set([...want.endpoints.keys(), ...shut]);
  for (const ifindex of wanted) {
    const before = known?.get(ifindex);
    if (before !== undefined) {
      attached.set(ifindex, before);
      continue;
    }
    try {
      const attaching =
        onLate === undefined
          ? attachments.attach(ifindex)
          : attachments.attachFirst(ifindex, (error) => onLate(ifindex, error));
      attached.set(ifindex, await attaching);
    } catch (error) {
      if (codeOf(error) === "ENODEV") gone.push(ifindex);
      else failed.set(ifindex, messageOf(error));
    }
  }
  await attachments.closeGaps();
  const former = known === undefined ? attachments.interfaces() : attachments.ownInterfaces();
  for (const ifindex of new Set([...former, ...held.state.endpoints.keys()])) {
    // A map that others have changed may have keys that are no interface's.
    if (ifindex < 1 || ifindex > IFINDEX_MAX) continue;
    if (wanted.has(ifindex) || gate?.holds(ifindex) === true) continue;
    await attachments.detach(ifindex).catch((error: unknown) => failed.set(ifindex, messageOf(error)));
  }
  return { gone, attached, failed };
}
