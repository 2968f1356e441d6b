// Totals that never decrease: the kernel's counters are removed with their endpoints, but their counts stay, and
// they outlive the agent in what `kept` returns.

import * as z from "zod";
import { POLICY_REASONS } from "../events/packet-event.ts";
import { type Cell, COUNT, type Growth, type KeptGrowth, openGrowth } from "./counter-growth.ts";

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
  /** The counters of this endpoint were cleared, or will be before the next call. */
  cleared(endpoint: number): void;
  totals(): readonly Total[];
  /** Totals of the known policies; others are forgotten. */
  policies(known: (policy: string) => boolean): readonly PolicyTotal[];
  kept(): KeptTotals;
  growth(): KeptGrowth;
}

/** Maximum number of policies with series of their own; decisions of others count under an empty name. */
export const POLICIES_MAX = 256;

const LABELS = { direction: z.string(), reason: z.string() };
const TOTAL = z.object({ family: z.string(), ...LABELS, packets: COUNT, bytes: COUNT });
const POLICY_TOTAL = z.object({ policy: z.string(), ...LABELS, packets: COUNT });

export const KEPT_TOTALS = z.object({ totals: z.array(TOTAL), policies: z.array(POLICY_TOTAL) });

export type KeptTotals = z.output<typeof KEPT_TOTALS>;

/** What an earlier agent has counted, and its counters as far as they are still the same. */
export interface Before {
  readonly kept: KeptTotals;
  readonly growth?: KeptGrowth;
}

export function openTraffic(before?: Before, policiesMax = POLICIES_MAX): Traffic {
  const growth = openGrowth(before?.growth);
  const totals = new Map<string, { -readonly [key in keyof Total]: Total[key] }>();
  const policies = new Map<string, Map<string, { -readonly [key in keyof PolicyTotal]: PolicyTotal[key] }>>();

  function addTotal({ family, direction, reason, packets, bytes }: Total): void {
    const key = `${family} ${direction} ${reason}`;
    const total = totals.get(key) ?? { family, direction, reason, packets: 0n, bytes: 0n };
    total.packets += packets;
    total.bytes += bytes;
    totals.set(key, total);
  }

  function addPolicy({ policy, direction, reason, packets }: PolicyTotal): void {
    const name = policies.has(policy) || policies.size < policiesMax ? policy : "";
    const own = policies.get(name) ?? new Map();
    policies.set(name, own);
    const key = `${direction} ${reason}`;
    const total = own.get(key) ?? { policy: name, direction, reason, packets: 0n };
    total.packets += packets;
    own.set(key, total);
  }

  function add(grown: Growth, policiesOf: PoliciesOf): void {
    addTotal(grown);
    if (!POLICY_REASONS.has(grown.reason)) return;
    for (const policy of policiesOf(grown.endpoint, grown.direction)) addPolicy({ ...grown, policy });
  }

  for (const { packets, bytes, ...total } of before?.kept.totals ?? [])
    addTotal({ ...total, packets: BigInt(packets), bytes: BigInt(bytes) });
  for (const { packets, ...total } of before?.kept.policies ?? [])
    addPolicy({ ...total, packets: BigInt(packets) });

  const allPolicies = (): readonly PolicyTotal[] =>
    [...policies.values()].flatMap((own) => [...own.values()]);
  return {
    take(cells, policiesOf) {
      for (const grown of growth.take(cells)) add(grown, policiesOf);
    },
    cleared: growth.cleared,
    totals: () => [...totals.values()],
    policies(known) {
      for (const policy of policies.keys()) if (policy !== "" && !known(policy)) policies.delete(policy);
      return allPolicies();
    },
    kept: () => ({
      totals: [...totals.values()].map(({ packets, bytes, ...total }) => ({
        ...total,
        packets: String(packets),
        bytes: String(bytes),
      })),
      policies: allPolicies().map(({ packets, ...total }) => ({ ...total, packets: String(packets) })),
    }),
    growth: growth.kept,
  };
}
