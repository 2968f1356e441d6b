// One shadow instance for many queries: each program is loaded when a query first needs it, because the verifier takes
// seconds, and kept.

import type { Direction } from "../base/direction.ts";
import { REASON_NAMES } from "../gen/layout.ts";
import { attachedProgram } from "./hooks.ts";
import type { LinkPlace } from "./pins.ts";
import { openShadowPrograms, PROGRAM_AT, type ShadowPrograms } from "./shadow-programs.ts";

/** A packet as it crosses an endpoint's interface. */
export interface PacketQuery {
  readonly ifindex: number;
  /** Of the endpoint; see ShadowPacket. */
  readonly id?: number;
  readonly direction: Direction;
  /** The interface that it came in at. */
  readonly ingressIfindex: number;
  readonly frame: Uint8Array;
}

export interface PacketVerdict {
  readonly program: string;
  readonly passes: boolean;
  /** The reason under which the packet is counted; "not-attached" without a program. */
  readonly reason: string;
}

export interface ShadowInstance {
  /** Verdicts in the order of the queries, each independent of all others. Errors: BpfError, OperationError. */
  judge(queries: readonly PacketQuery[]): Promise<PacketVerdict[]>;
  /** Idempotent. */
  close(): void;
}

/** Over the policy maps pinned under `root`, which must exist when the first query comes. */
export function openShadowInstance(root: string, objectPath: string): ShadowInstance {
  const loaded = new Map<LinkPlace, ShadowPrograms>();
  const close = (): void => {
    for (const programs of loaded.values()) programs.close();
    loaded.clear();
  };

  async function load(places: ReadonlySet<LinkPlace>): Promise<void> {
    await Promise.all(
      [...places].map(async (place) => {
        if (!loaded.has(place)) loaded.set(place, await openShadowPrograms(root, objectPath, [place]));
      }),
    );
  }

  async function judgeOne({ direction, ...packet }: PacketQuery): Promise<PacketVerdict> {
    const hook = attachedProgram(root, packet.ifindex, direction);
    if (hook === undefined) return { program: PROGRAM_AT[direction], passes: true, reason: "not-attached" };
    const program = PROGRAM_AT[hook.place];
    if (loaded.get(hook.place)?.isShadowOf(hook.place, hook.id) !== true) {
      // The programs were replaced since ours were loaded, unless these were loaded just now.
      loaded.get(hook.place)?.close();
      loaded.delete(hook.place);
      await load(new Set([hook.place]));
    }
    const programs = loaded.get(hook.place);
    if (programs?.isShadowOf(hook.place, hook.id) !== true)
      throw new Error(`${program} on interface ${packet.ifindex} is another build's`);
    const { passes, reason } = await programs.judge({ ...packet, place: hook.place });
    return { program, passes, reason: REASON_NAMES[reason] ?? `reason ${reason}` };
  }

  return {
    async judge(queries) {
      const hooks = queries.map(({ ifindex, direction }) => attachedProgram(root, ifindex, direction));
      await load(new Set(hooks.flatMap((hook) => hook?.place ?? [])));
      for (const programs of loaded.values()) await programs.forget();
      const verdicts: PacketVerdict[] = [];
      for (const query of queries) verdicts.push(await judgeOne(query));
      return verdicts;
    },
    close,
  };
}
