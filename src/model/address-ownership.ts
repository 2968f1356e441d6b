// Who has an address: one ranking of the evidence, for the compiler and for the oracle.
//
// 1. First-hand evidence of this node (Ownership.held): the pod whose interface the address is behind.
// 2. Between nodes, spec.podCIDRs: a node whose ranges hold the address before one whose ranges do not.
// 3. A pod that is not being deleted before one that is.
// 4. Of the pods of one node, the one whose object got the address last.
//
// What remains equal is ambiguous. No order of names, of arrival or of a map decides.

import { type Address, cidrContains } from "../base/ip.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "./cluster.ts";

/** An address and the pods that may have it: several where the evidence does not decide. */
export interface Held {
  readonly address: Address;
  readonly pods: readonly [Pod, ...Pod[]];
}

/** Every address that a pod has, by its text. */
export function holdersOf(cluster: Cluster): Map<string, Held> {
  const found = new Map<string, Held>();
  const contested = new Map<string, Pod[]>();
  for (const pod of cluster.pods.values()) {
    if (!isSelectable(pod)) continue;
    for (const address of pod.ips) {
      const { text } = address;
      const there = found.get(text);
      if (there === undefined) found.set(text, { address, pods: [pod] });
      else if (!there.pods.includes(pod)) {
        const claimants = contested.get(text) ?? [...there.pods];
        claimants.push(pod);
        contested.set(text, claimants);
      }
    }
  }
  for (const [text, claimants] of contested) {
    const { address } = found.get(text) as Held;
    found.set(text, { address, pods: inOrder(decided(cluster, address, claimants)) });
  }
  for (const [text, { address, holders }] of cluster.ownership?.held ?? []) {
    const pods = holders.flatMap((holder) => {
      const pod = typeof holder === "string" ? cluster.pods.get(holder) : holder;
      return pod === undefined || (typeof holder === "string" && !isSelectable(pod)) ? [] : [pod];
    });
    if (pods.length > 0) found.set(text, { address, pods: inOrder(pods) });
  }
  return found;
}

/** The retained pods that have addresses. */
export const retainedPods = ({ ownership }: Cluster): readonly Pod[] => [
  ...new Set(
    [...(ownership?.held.values() ?? [])].flatMap(({ holders }) =>
      holders.flatMap((holder) => (typeof holder === "string" ? [] : [holder])),
    ),
  ),
];

/** The pods that rank first by 2 to 4; several of them are equal. */
export function decided(cluster: Cluster, address: Address, claimants: readonly Pod[]): readonly Pod[] {
  const byRange = withinRanges(cluster, address, claimants);
  const alive = preferring(byRange, ({ deleting }) => deleting !== true);
  const since = cluster.ownership?.appeared.get(address.text);
  const appearedAt = (pod: Pod): number => since?.get(keyOf(pod)) ?? 0;
  return [...Map.groupBy(alive, ({ node }) => node).values()].flatMap((ofNode) => {
    const newest = Math.max(...ofNode.map(appearedAt));
    return ofNode.filter((pod) => appearedAt(pod) === newest);
  });
}

/** A pod on a node whose ranges do not hold the address does not count against one on a node whose ranges do. */
function withinRanges({ nodes }: Cluster, address: Address, claimants: readonly Pod[]): readonly Pod[] {
  const rangesOf = ({ node }: Pod) => (node === undefined ? undefined : nodes?.get(node)?.podCidrs) ?? [];
  const holds = (pod: Pod): boolean => rangesOf(pod).some((cidr) => cidrContains(cidr, address));
  if (!claimants.some(holds)) return claimants;
  const ofFamily = (pod: Pod): boolean => rangesOf(pod).some(({ family }) => family === address.family);
  return claimants.filter((pod) => holds(pod) || !ofFamily(pod));
}

const preferring = <T>(all: readonly T[], isBetter: (one: T) => boolean): readonly T[] =>
  all.some(isBetter) ? all.filter(isBetter) : all;

/** In a stable order, for people, and so that equal sets are equal lists. */
const inOrder = (pods: readonly Pod[]): [Pod, ...Pod[]] =>
  [...pods].sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1)) as [Pod, ...Pod[]];

const orderOf = (pod: Pod): string => `${keyOf(pod)} ${pod.retained === undefined ? "" : (pod.uid ?? "-")}`;
