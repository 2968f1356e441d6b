// Whose counters are at which index: the endpoint's pod and its policies, as long as the index is not given to
// another one.

import * as z from "zod";
import { DIRECTIONS, type Direction } from "../base/direction.ts";

import { localText } from "../policy/local-endpoints.ts";
import { policyKeysOf } from "../policy/subjects.ts";
import type { State } from "../state/desired-state.ts";
import type { InForce } from "./agent-views.ts";
import type { PoliciesOf } from "./counter-totals.ts";

const POLICIES = z.array(z.string());

/** In files: index, and what is there. */
export const KEPT_ENDPOINTS = z.array(
  z.tuple([z.int(), z.object({ pod: z.string(), ifindex: z.int(), ingress: POLICIES, egress: POLICIES })]),
);

/** The policies are those that isolate it in a direction. */
export type CountedEndpoint = z.output<typeof KEPT_ENDPOINTS>[number][1];

export interface CountedEndpoints {
  /** Whether endpoints are known at all: from a state in force, or from an earlier agent. */
  isKnown(): boolean;
  get(id: number): CountedEndpoint | undefined;
  /** Takes over the endpoints of a state in force; returns the indexes that were given to another one. */
  settle(force: InForce): readonly number[];
  /**
   * Compares those of an earlier agent with what the kernel has now; returns the indexes that were given to others.
   * Removed endpoints keep their counters until then.
   */
  confirm(endpoints: State["endpoints"]): readonly number[];
  policiesOf: PoliciesOf;
  kept(): z.input<typeof KEPT_ENDPOINTS>;
}

export function openCountedEndpoints(
  before: readonly (readonly [number, CountedEndpoint])[] = [],
): CountedEndpoints {
  const endpoints = new Map<number, CountedEndpoint>(before);
  let settled: InForce | undefined;
  return {
    isKnown: () => settled !== undefined || endpoints.size > 0,
    get: (id) => endpoints.get(id),
    settle(force) {
      if (force === settled) return [];
      settled = force;
      const moved: number[] = [];
      for (const { local, sides } of force.compiled.meaning.sides) {
        const id = force.compiled.state.endpoints.get(local.ifindex)?.id;
        if (id === undefined) continue;
        const known = endpoints.get(id);
        if (known !== undefined && known.ifindex !== local.ifindex) moved.push(id);
        const [ingress = [], egress = []] = DIRECTIONS.map((direction) => [
          ...policyKeysOf(sides[direction]),
        ]);
        endpoints.set(id, { pod: localText(local), ifindex: local.ifindex, ingress, egress });
      }
      return moved;
    },
    confirm(inKernel) {
      const now = new Map([...inKernel].map(([ifindex, { id }]) => [id, ifindex]));
      const moved = [...endpoints]
        .filter(([id, { ifindex }]) => (now.get(id) ?? ifindex) !== ifindex)
        .map(([id]) => id);
      for (const id of moved) endpoints.delete(id);
      return moved;
    },
    policiesOf: (id, direction) => endpoints.get(id)?.[direction as Direction] ?? [],
    kept: () => [...endpoints],
  };
}
