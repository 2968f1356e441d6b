// Peers as terms: a rule's peer list under a canonical name, so that equal lists are one term.

import type { Cidr } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import {
  type Cluster,
  type ContainerPort,
  isSelectable,
  namespaceLabels,
  type Pod,
  type Protocol,
} from "../model/cluster.ts";
import type { Peer } from "../model/network-policy.ts";
import { matches, selectorText } from "../model/selector.ts";

/** The peers of one rule, taken together: an address belongs to the set when any of them matches it. */
export interface PeerSet {
  readonly key: string;
  /** The policy's namespace: where a peer without namespaceSelector selects. */
  readonly namespace: string;
  readonly peers: "anyone" | readonly MatchingPeer[];
}

/** A port name on a destination: it applies only if the pod declares it with this number. */
export interface Resolution {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

/** The elements of identities: a peer set, restricted to the pods on which a port name has a certain number. */
export interface Term {
  readonly key: string;
  readonly set: PeerSet;
  readonly resolves: Resolution | undefined;
}

/** A peer that matches addresses. */
type MatchingPeer = Exclude<Peer, { readonly kind: "nothing" }>;

export function peerSetOf(all: "anyone" | readonly Peer[], namespace: string): PeerSet {
  if (all === "anyone") return { key: "anyone", namespace, peers: "anyone" };
  const peers = all.filter((peer) => peer.kind !== "nothing");
  const key = JSON.stringify(peers.map((peer) => peerKey(peer, namespace)).sort());
  return { key, namespace, peers };
}

export function termOf(set: PeerSet, resolves: Resolution | undefined): Term {
  if (resolves === undefined) return { key: set.key, set, resolves };
  return { key: JSON.stringify([set.key, resolves.name, resolves.protocol, resolves.port]), set, resolves };
}

function peerKey(peer: MatchingPeer, namespace: string): string {
  if (peer.kind === "block")
    return JSON.stringify([peer.cidr.text, ...peer.except.map((cidr) => cidr.text).sort()]);
  const where =
    peer.namespaces === undefined ? ["namespace", namespace] : ["selector", selectorText(peer.namespaces)];
  return JSON.stringify([...where, selectorText(peer.pods)]);
}

/** Whether selectors of the set (not its blocks) match a pod. Host-network and finished pods are never matched. */
export function selectsPod(set: PeerSet, cluster: Cluster, pod: Pod): boolean {
  if (!isSelectable(pod)) return false;
  if (set.peers === "anyone") return true;
  return set.peers.some((peer) => {
    if (peer.kind === "block") return false;
    if (peer.namespaces === undefined) {
      if (pod.namespace !== set.namespace) return false;
    } else if (!matches(peer.namespaces, namespaceLabels(cluster, pod.namespace))) return false;
    return matches(peer.pods, pod.labels);
  });
}

export function declares(pod: { readonly ports: readonly ContainerPort[] }, wanted: Resolution): boolean {
  return pod.ports.some(
    (port) => port.name === wanted.name && port.protocol === wanted.protocol && port.port === wanted.port,
  );
}

/** Equal ports have equal texts. */
export const portsText = memo((ports: Pod["ports"]) =>
  JSON.stringify(ports.map(({ name, protocol, port }) => [name ?? "", protocol, port])),
);

/** The numbers that a port name has on the pods of the cluster. */
export const numbersOf = (cluster: Cluster, name: string, protocol: Protocol): readonly number[] =>
  portNames(cluster.pods).get(`${protocol} ${name}`) ?? [];

/** "TCP http" to the numbers that it has on selectable pods, sorted. */
const portNames = memo((pods: Cluster["pods"]): ReadonlyMap<string, readonly number[]> => {
  const found = new Map<string, Set<number>>();
  for (const pod of pods.values()) {
    if (!isSelectable(pod)) continue;
    for (const { name, protocol, port } of pod.ports) {
      if (name === undefined) continue;
      const key = `${protocol} ${name}`;
      const numbers = found.get(key);
      if (numbers === undefined) found.set(key, new Set([port]));
      else numbers.add(port);
    }
  }
  return new Map([...found].map(([key, numbers]) => [key, [...numbers].sort((a, b) => a - b)]));
});

/** One block of one peer set. */
export interface Block {
  readonly set: PeerSet;
  readonly cidr: Cidr;
  readonly except: readonly Cidr[];
}

export function blocksOf(sets: Iterable<PeerSet>): Block[] {
  const blocks: Block[] = [];
  for (const set of sets) {
    if (set.peers === "anyone") continue;
    for (const peer of set.peers) {
      if (peer.kind === "block") blocks.push({ set, cidr: peer.cidr, except: peer.except });
    }
  }
  return blocks;
}
