// The node's network as plain data: its links, and the evidence for the link that an address is behind.

import type { NetLink as Link, NetAddress, NetNeighbour, NetRoute } from "bpf-ts";

export type { NetRoute } from "bpf-ts";

/** A link; of pairs also what distinguishes it from a later one with the same index (see link-identity.ts). */
export type NetLink = Link & { readonly birth?: string };

/** The hardware address of a pair's other end, which is in another namespace. */
export interface FarEnd {
  /** As it was when the link was first seen: if the agent was running then, no process inside has run yet. */
  readonly first: string;
  readonly now: string;
}

/** One state of the tables. Nothing in it changes any more. */
export interface NodeTables {
  /** By interface index. */
  readonly links: ReadonlyMap<number, NetLink>;
  /** Routes of all tables to what is not link-local. */
  readonly routes: readonly NetRoute[];
  /** Routes by which packets are this node's own: its addresses, broadcasts and anycasts. Without those that every link brings along. */
  readonly local: readonly NetRoute[];
  /** Neighbours that have a hardware address. */
  readonly neighbours: readonly NetNeighbour[];
  /** What bridges have learned: which hardware address is behind which port. */
  readonly forwarding: readonly NetNeighbour[];
  /** Addresses in other network namespaces, by the id of the namespace; link-local ones are left out. */
  readonly inside: ReadonlyMap<number, readonly NetAddress[]>;
  /** What is at the other end of pairs, by the index of this end; absent where it cannot be read. */
  readonly ends: ReadonlyMap<number, FarEnd>;
  /** Counts the changes. */
  readonly version: number;
}

/** One end of a pair whose other end is in another network namespace: what a pod is attached to. */
export const isPairElsewhere = (link: NetLink): boolean =>
  (link.kind === "veth" || link.kind === "netkit") && link.peerNetns !== undefined;

/** The id of the network namespace at the other end of a pair; undefined if there is none, or it has no id here. */
export const netnsBehind = (link: NetLink | undefined): number | undefined =>
  link !== undefined && isPairElsewhere(link) && (link.peerNetns ?? -1) >= 0 ? link.peerNetns : undefined;

/** Addresses at the other end of a pair, in the order in which they were added. */
export function addressesBehind({ inside }: NodeTables, link: NetLink): readonly NetAddress[] {
  const all = link.peerNetns === undefined ? undefined : inside.get(link.peerNetns);
  return (all ?? []).filter(({ ifindex }) => ifindex === link.peer);
}

export const linkNamed = ({ links }: NodeTables, name: string): NetLink | undefined =>
  links.values().find((link) => link.name === name);
