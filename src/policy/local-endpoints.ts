// The endpoints of this node: an interface, and the pod whose packets cross it, or the pods that may own it.

import type { Address, Cidr } from "../base/ip.ts";
import { keyOf, type Pod } from "../model/cluster.ts";
import type { EndpointLink } from "../state/desired-state.ts";

export interface LocalEndpoint {
  readonly pod: Pod;
  /** Index of the host-side interface that its packets cross. A pod may have several. */
  readonly ifindex: number;
  /** Other pods that may own the interface if the owner is ambiguous: the policies of all apply together. */
  readonly rivals?: readonly Pod[];
  /** The pod's source addresses here; by default the addresses that all of the pods have. */
  readonly addresses?: readonly Address[];
  /** Properties of the link, as far as known. */
  readonly link?: EndpointLink;
}

export const podsOf = ({ pod, rivals = [] }: LocalEndpoint): readonly [Pod, ...Pod[]] => [pod, ...rivals];

/** The pod, or "x/a or y/b" if the interface's owner is ambiguous. */
export const localText = (local: LocalEndpoint): string => podsOf(local).map(keyOf).sort().join(" or ");

export const addressesOfLocal = (local: LocalEndpoint): readonly Address[] =>
  local.addresses ?? common(podsOf(local).map(({ ips }) => ips));

/** Prefixes that each of the pods was given to send from. */
export const prefixesOfLocal = (local: LocalEndpoint): readonly Cidr[] =>
  common(podsOf(local).map(({ sources = [] }) => sources));

/** Whether the spoof guard restricts it to addresses that are known to be one pod's own. */
export const sendsAsItself = (local: LocalEndpoint): boolean =>
  local.rivals === undefined && addressesOfLocal(local).length > 0 && prefixesOfLocal(local).length === 0;

/** The items that all lists have, in the order of the first. */
function common<T extends { readonly text: string }>(lists: readonly (readonly T[])[]): readonly T[] {
  const [first = [], ...others] = lists;
  return first.filter(({ text }) => others.every((list) => list.some((each) => each.text === text)));
}
