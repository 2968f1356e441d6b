// Peers as terms: a rule's peer list under a canonical name, so that equal lists are one term.

import { digestOf } from "../base/digest.ts";
import type { Cidr } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { follow } from "../base/versioned-map.ts";
import { type Cluster, isSelectable, type Pod, type Protocol } from "../model/cluster.ts";
import { exceptionsOf, type Peer } from "../model/network-policy.ts";
import { selectorText } from "../model/selector.ts";

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
  const known = peerSets(all).get(namespace);
  if (known !== undefined) return known;
  const peers = all.filter((peer) => peer.kind !== "nothing");
  const text = JSON.stringify(peers.map((peer) => peerKey(peer, namespace)).sort());
  const key = text.length <= KEY_MAX ? text : digestOf(text);
  const set = { key, namespace, peers };
  peerSets(all).set(namespace, set);
  return set;
}

/** The length of a key, which many terms have in theirs. No text of peers looks like a digest. */
const KEY_MAX = 256;

/** By the policy's namespace: most lists of peers are those of one rule. */
const peerSets = memo((_: readonly Peer[]) => new Map<string, PeerSet>());

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

/** Equal for equal port names with equal numbers. */
export const resolutionText = ({ name, protocol, port }: Resolution): string => `${protocol} ${port} ${name}`;

/** The port names that a pod declares, as `resolutionText`, each once. */
export const resolutionsOf = memo(
  (ports: Pod["ports"]): ReadonlySet<string> =>
    new Set(
      ports.flatMap(({ name, protocol, port }) =>
        name === undefined ? [] : resolutionText({ name, protocol, port }),
      ),
    ),
);

/** Equal ports have equal texts. */
export const portsText = memo((ports: Pod["ports"]) =>
  JSON.stringify(ports.map(({ name, protocol, port }) => [name ?? "", protocol, port])),
);

/** The numbers that a port name has on selectable pods of the cluster, sorted; the same list as long as they are the same. */
export const numbersOf = (cluster: Cluster, name: string, protocol: Protocol): readonly number[] =>
  portNames(cluster.pods).get(`${protocol} ${name}`)?.sorted ?? NO_NUMBERS;

const NO_NUMBERS: readonly number[] = [];

/** The numbers of a name, each with how many containers' ports have it. */
interface Numbers {
  readonly counts: Map<number, number>;
  sorted: readonly number[];
}

/** By protocol and name: "TCP http". */
const portNames = follow<string, Pod, Map<string, Numbers>>(
  () => new Map(),
  (names, { before, after }) => {
    if (before?.ports === after?.ports && before !== undefined && after !== undefined)
      if (isDestination(before) === isDestination(after)) return;
    if (after !== undefined) countPorts(names, after, 1);
    if (before !== undefined) countPorts(names, before, -1);
  },
);

/** One without an address is no destination: its ports, however many, would only be terms that no address has. */
const isDestination = (pod: Pod): boolean => isSelectable(pod) && pod.ips.length > 0;

function countPorts(names: Map<string, Numbers>, pod: Pod, by: 1 | -1): void {
  if (!isDestination(pod)) return;
  for (const { name, protocol, port } of pod.ports) {
    if (name === undefined) continue;
    const key = `${protocol} ${name}`;
    const numbers = names.get(key) ?? { counts: new Map<number, number>(), sorted: [] };
    names.set(key, numbers);
    const count = (numbers.counts.get(port) ?? 0) + by;
    if (count > 0) numbers.counts.set(port, count);
    else numbers.counts.delete(port);
    if (numbers.counts.size !== numbers.sorted.length)
      numbers.sorted = [...numbers.counts.keys()].sort((a, b) => a - b);
    if (numbers.counts.size === 0) names.delete(key);
  }
}

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
      if (peer.kind === "block") blocks.push({ set, cidr: peer.cidr, except: exceptionsOf(peer) });
    }
  }
  return blocks;
}
