// Who may reach whom on which ports in one cluster, by classes: pods of equal policy and addresses that no rule tells apart.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import type { Address, Cidr } from "../../base/ip.ts";
import { type PrefixTable, prefixTable } from "../../base/prefix-table.ts";
import { type Cluster, isSelectable, type Pod } from "../../model/cluster.ts";
import { classify, type TermSet } from "../identities.ts";
import { ALL_PORTS, type PortSet } from "../port-classes.ts";
import { compilePolicy, planRows, setsByTerm } from "../rows.ts";
import { type Side, sideOf } from "../subjects.ts";

/** No policy isolates the pod in that direction. */
export const OPEN = "open";

export interface Reach {
  /** What a pod's policies of a direction come to, as text that is equal where they come to the same; or OPEN. */
  policyOf(pod: Pod, direction: Direction): string;
  /** The rules that match a pod's address, as text that is equal where the same ones do. */
  termsAt(address: Address): string;
  /** The same for the addresses of a prefix that are in no narrower one, and no pod's. */
  termsIn(cidr: Cidr): string;
  /** The ports that a policy allows to (from) addresses of these terms. */
  ports(policy: string, terms: string): PortSet;
  /** The prefixes that rules name. */
  readonly cidrs: readonly Cidr[];
}

/** Prepares a cluster for many questions. Time: pods of distinct labels times policies. */
export function reachOf(cluster: Cluster): Reach {
  const sides = sidesOf(cluster);
  const distinct = [...new Set(sides.values())].flatMap((each) =>
    DIRECTIONS.flatMap((direction) => each[direction] ?? []),
  );
  const terms = new Map(
    distinct.flatMap(({ clauses }) =>
      clauses.flatMap(({ term }) => (term ? [[term.key, term] as const] : [])),
    ),
  );
  const numbers = new Map([...terms.keys()].map((key, index) => [key, index + 1]));
  const { addresses, cidrs } = classify(cluster, [...terms.values()], numbers);
  const compiled = new Map(distinct.map((side) => [side, compilePolicy(side, numbers)]));
  const policies = new Map([...compiled.values()].map((policy) => [policy.content, policy]));
  const termSets = new Map<string, TermSet>();
  for (const { terms: set } of [...addresses.values(), ...cidrs.values()])
    if (set.content !== "") termSets.set(set.content, set);
  const { cells } = planRows(policies, setsByTerm(termSets.values()));
  const table: PrefixTable<string> = prefixTable(
    [...cidrs.values()].map(({ cidr, terms: set }) => [cidr, set.content] as const),
  );
  return {
    policyOf(pod, direction) {
      const side = sides.get(pod)?.[direction];
      return side === undefined ? OPEN : (compiled.get(side)?.content ?? OPEN);
    },
    termsAt: (address) =>
      addresses.get(address.text)?.terms.content ?? table.find(address.family, address.value) ?? "",
    termsIn: (cidr) => table.find(cidr.family, cidr.value, cidr.length) ?? "",
    ports: (policy, set) =>
      policy === OPEN ? ALL_PORTS : (cells.get(policy)?.get(set) ?? policies.get(policy)?.others ?? []),
    cidrs: [...cidrs.values()].map(({ cidr }) => cidr),
  };
}

type Sides = { readonly [direction in Direction]: Side | undefined };

/** Audited policies drop nothing, so they change no decision. */
function enforcedSideOf(cluster: Cluster, pod: Pod, direction: Direction): Side | undefined {
  const side = sideOf(cluster, pod, direction);
  return side?.audit === true ? undefined : side;
}

/** What selects a pod, and what its policies mean, follows from its namespace, labels and ports: asked once for each. */
function sidesOf(cluster: Cluster): Map<Pod, Sides> {
  const known = new Map<string, Sides>();
  const sides = new Map<Pod, Sides>();
  for (const pod of cluster.pods.values()) {
    if (!isSelectable(pod)) continue;
    const labels = [...pod.labels].sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([pod.namespace, labels, pod.ports]);
    const own = known.get(key) ?? {
      ingress: enforcedSideOf(cluster, pod, "ingress"),
      egress: enforcedSideOf(cluster, pod, "egress"),
    };
    known.set(key, own);
    sides.set(pod, own);
  }
  return sides;
}
