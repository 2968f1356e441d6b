// Totals that never decrease: the kernel's counters are removed with their endpoints, but their counts stay.

import { POLICY_REASONS } from "../events/packet-event.ts";

/** One counter cell: packets of one endpoint in a family and direction, for a reason. */
export interface Cell {
  readonly endpoint: number;
  readonly family: string;
  readonly direction: string;
  readonly reason: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface Total {
  readonly family: string;
  readonly direction: string;
  readonly reason: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface PolicyTotal {
  /** `namespace/name`; empty for those beyond the limit. */
  readonly policy: string;
  readonly direction: string;
  readonly reason: string;
  readonly packets: bigint;
}

/** Policies that a cell counts for, as `namespace/name`. */
export type PoliciesOf = (endpoint: number, direction: string) => readonly string[];

export interface Traffic {
  /**
   * Adds the counts since the last call. Call it while `policiesOf` still describes the state that judged
   * those packets.
   */
  take(cells: readonly Cell[], policiesOf: PoliciesOf): void;
  totals(): readonly Total[];
  /** Totals of the known policies; others are forgotten. */
  policies(known: (policy: string) => boolean): readonly PolicyTotal[];
}

/** Maximum number of policies with series of their own; decisions of others count under an empty name. */
export const POLICIES_MAX = 256;

interface Counted {
  packets: bigint;
  bytes: bigint;
}

export function openTraffic(policiesMax = POLICIES_MAX): Traffic {
  const seen = new Map<string, Counted>();
  const totals = new Map<string, { -readonly [key in keyof Total]: Total[key] }>();
  const policies = new Map<string, Map<string, { -readonly [key in keyof PolicyTotal]: PolicyTotal[key] }>>();

  function countFor(policy: string, { direction, reason }: Cell, packets: bigint): void {
    const name = policies.has(policy) || policies.size < policiesMax ? policy : "";
    const own = policies.get(name) ?? new Map();
    policies.set(name, own);
    const key = `${direction} ${reason}`;
    const total = own.get(key) ?? { policy: name, direction, reason, packets: 0n };
    total.packets += packets;
    own.set(key, total);
  }

  function add(cell: Cell, grown: Counted, policiesOf: PoliciesOf): void {
    const { family, direction, reason } = cell;
    const key = `${family} ${direction} ${reason}`;
    const total = totals.get(key) ?? { family, direction, reason, packets: 0n, bytes: 0n };
    total.packets += grown.packets;
    total.bytes += grown.bytes;
    totals.set(key, total);
    if (!POLICY_REASONS.has(reason) || grown.packets === 0n) return;
    for (const policy of policiesOf(cell.endpoint, direction)) countFor(policy, cell, grown.packets);
  }

  return {
    take(cells, policiesOf) {
      const present = new Set<string>();
      for (const cell of cells) {
        const key = `${cell.endpoint} ${cell.family} ${cell.direction} ${cell.reason}`;
        present.add(key);
        add(cell, growth(seen.get(key), cell), policiesOf);
        seen.set(key, { packets: cell.packets, bytes: cell.bytes });
      }
      // Cleared for an endpoint that has reused the number: it starts at zero.
      for (const key of seen.keys()) if (!present.has(key)) seen.delete(key);
    },
    totals: () => [...totals.values()],
    policies(known) {
      for (const policy of policies.keys()) if (policy !== "" && !known(policy)) policies.delete(policy);
      return [...policies.values()].flatMap((own) => [...own.values()]);
    },
  };
}

/** A counter that is lower than before was cleared in between. */
function growth(before: Counted | undefined, now: Counted): Counted {
  if (before === undefined || now.packets < before.packets) return now;
  return { packets: now.packets - before.packets, bytes: now.bytes - before.bytes };
}
