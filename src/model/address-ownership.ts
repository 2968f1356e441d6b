// Who has an address: one ranking of the evidence, for the compiler and for the oracle.
//
// 1. First-hand evidence of this node (Ownership.held): the pod whose interface the address is behind.
// 2. Between nodes, spec.podCIDRs: a node whose ranges hold the address before one whose ranges do not.
// 3. A pod that is not being deleted before one that is.
// 4. Of the pods of one node, the one whose object got the address last.
//
// What remains equal is ambiguous. No order of names, of arrival or of a map decides.

import { present } from "../base/assert.ts";
import { type Address, cidrContains } from "../base/ip.ts";
import { type Multimap, openMultimap } from "../base/multimap.ts";
import { sameItems } from "../base/stage.ts";
import { changesBetween, follow } from "../base/versioned-map.ts";
import { type Cluster, type Holder, isSelectable, keyOf, type Pod } from "./cluster.ts";

/** An address and the pods that may have it: several where the evidence does not decide. */
export interface Held {
  readonly address: Address;
  readonly pods: readonly [Pod, ...Pod[]];
}

/** The pod, or "x/a or y/b" if it is not certain which. */
export const holdersText = ({ pods }: Held): string => pods.map(keyOf).join(" or ");

/** Who has which address, by the address's text: of one cluster, whatever becomes of its maps. */
export interface Holders {
  get(text: string): Held | undefined;
  /** All addresses that a pod has. */
  keys(): Set<string>;
}

export const holdersOf = (cluster: Cluster): Holders => ({
  get: (text) => holderOf(cluster, text),
  keys: () =>
    new Set(
      [...claimsIn(cluster.pods).pods.keys(), ...(cluster.ownership?.held.keys() ?? [])].filter(
        (text) => holderOf(cluster, text) !== undefined,
      ),
    ),
});

function holderOf(cluster: Cluster, text: string): Held | undefined {
  const held = cluster.ownership?.held.get(text);
  if (held !== undefined) {
    const pods = held.holders.flatMap((holder) => {
      const pod = typeof holder === "string" ? cluster.pods.get(holder) : holder;
      return pod === undefined || (typeof holder === "string" && !isSelectable(pod)) ? [] : [pod];
    });
    if (pods.length > 0) return { address: held.address, pods: inOrder(pods) };
  }
  const claimants = claimsIn(cluster.pods).pods.get(text);
  const [first, second] = claimants;
  if (first === undefined) return undefined;
  const address = addressIn(first, text);
  return { address, pods: second === undefined ? [first] : inOrder(decided(cluster, address, claimants)) };
}

const addressIn = ({ ips }: Pod, text: string): Address =>
  present(
    ips.find((address) => address.text === text),
    "the address that is claimed",
  );

/** The selectable pods whose objects have each address. */
interface Claims {
  readonly pods: Multimap<string, Pod>;
  /** Addresses that several have. */
  readonly contested: Set<string>;
}

const claimsIn = follow<string, Pod, Claims>(
  () => ({ pods: openMultimap(), contested: new Set() }),
  ({ pods, contested }, { before, after }) => {
    for (const text of before === undefined ? [] : addressesOf(before)) {
      pods.delete(text, before as Pod);
      if (pods.get(text).length < 2) contested.delete(text);
    }
    for (const text of after === undefined ? [] : addressesOf(after)) {
      pods.add(text, after as Pod);
      if (pods.get(text).length > 1) contested.add(text);
    }
  },
);

/** Each once. */
function addressesOf(pod: Pod): Iterable<string> {
  if (!isSelectable(pod)) return [];
  const [first, ...others] = pod.ips;
  if (first === undefined) return [];
  return others.length === 0 ? [first.text] : new Set(pod.ips.map(({ text }) => text));
}

/** Whether any selectable pod's object has an address. */
export const isClaimed = (pods: Cluster["pods"], text: string): boolean =>
  claimsIn(pods).pods.get(text).length > 0;

/** Selectable pods that share an address, by address. */
export function sharedAddresses(pods: Cluster["pods"]): Map<string, readonly Pod[]> {
  const claims = claimsIn(pods);
  return new Map(claims.contested.values().map((text) => [text, claims.pods.get(text)]));
}

/** The pods whose objects have an address. */
export const claimantsOf = (pods: Cluster["pods"], text: string): readonly Pod[] =>
  claimsIn(pods).pods.get(text);

/** Every address whose holders may differ between two clusters, and perhaps some more. */
export function changedHolders(before: Cluster, after: Cluster): Set<string> {
  const texts = new Set<string>();
  const keys = new Set<Holder>();
  for (const { key, before: was, after: is } of changesBetween(before.pods, after.pods)) {
    keys.add(key);
    for (const pod of [was, is]) for (const { text } of pod?.ips ?? []) texts.add(text);
  }
  const [own, other] = [before.ownership, after.ownership];
  for (const [one, two] of [
    [own, other],
    [other, own],
  ] as const) {
    if (one === two && keys.size === 0) continue;
    for (const [text, { holders }] of one?.held ?? []) {
      const there = two?.held.get(text)?.holders;
      const isSame = there !== undefined && sameItems(holders, there);
      if (!isSame || holders.some((holder) => keys.has(holder))) texts.add(text);
    }
  }
  if (before.nodes !== after.nodes || own?.appeared !== other?.appeared)
    for (const text of claimsIn(after.pods).contested) texts.add(text);
  return texts;
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
