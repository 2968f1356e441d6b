// The minute that is being counted: exact counts from the kernel's counters, and peers from events, which are
// rate-limited. Each event takes its packet out of the count that includes it, so that the sums stay exact and
// what no event names is a row without a peer.

import type { Direction } from "../base/direction.ts";
import { verdictOfReason } from "../events/packet-event.ts";
import type { HistoryRow } from "./history-block.ts";

/** Packets counted by the programs. */
export type Counted = Omit<HistoryRow, "peer" | "port">;

/** One packet that was reported. */
export type Reported = Omit<HistoryRow, "packets">;

export interface HistoryMinute {
  count(counted: Counted): void;
  report(reported: Reported): void;
  /** The rows so far. */
  rows(): HistoryRow[];
  /** The same, and begins the next minute with the reports that are ahead of their counts. */
  seal(): HistoryRow[];
}

/** Peers that a pod gets rows for in one minute, for what was dropped (or would be) and for what passed. */
export const PEERS_EACH = 16;
/** The same for all pods of the node: if more pods than fit have peers, each has fewer. */
export const PEERS_NODE = 4_000;
/** Peers of a pod, of either class, among which those are chosen. */
const CANDIDATES_EACH = 256;
/** Sets of policies that a pod's counts are kept apart by in one minute; beyond that they name none. */
const GROUPS_EACH = 64;
/** Policies that a row names. */
export const POLICIES_EACH = 8;
/** The last of its policies, if there are more. */
export const MORE_POLICIES = "(others)";

interface Sum {
  packets: number;
  bytes: number;
}

interface Group extends Omit<HistoryRow, "packets" | "bytes" | "peer" | "port">, Sum {}

interface Peer extends Omit<HistoryRow, "packets" | "bytes">, Sum {
  /** It was ahead of its counts at the end of a minute: at the end of the next one it is forgotten. */
  waited: boolean;
}

/** What passes and what is dropped (or would be): neither takes the places of the other. */
type Class = "passed" | "dropped";

interface Pod {
  readonly groups: Map<string, Group>;
  readonly peers: Readonly<Record<Class, Map<string, Peer>>>;
}

const classOf = ({ reason }: { readonly reason: string }): Class =>
  verdictOfReason(reason) === "passed" ? "passed" : "dropped";

const sideKey = ({ direction, reason }: { direction: Direction; reason: string }): string =>
  `${direction} ${reason}`;

/** Cluster policies, which are in no namespace, by their name alone. */
const namesIn = (policies: readonly string[]): readonly string[] => {
  const names = policies.map((each) => (each.startsWith("/") ? each.slice(1) : each));
  return names.length <= POLICIES_EACH ? names : [...names.slice(0, POLICIES_EACH), MORE_POLICIES];
};

export function openMinute(): HistoryMinute {
  let pods = new Map<string, Pod>();
  const podOf = (name: string): Pod => {
    const known = pods.get(name);
    if (known !== undefined) return known;
    const made = { groups: new Map(), peers: { passed: new Map(), dropped: new Map() } };
    pods.set(name, made);
    return made;
  };
  function addPeer(peer: Peer): void {
    const peers = podOf(peer.pod).peers[classOf(peer)];
    const key = [sideKey(peer), peer.port, peer.peer, ...peer.policies].join(" ");
    const known = peers.get(key);
    if (known !== undefined) {
      known.packets += peer.packets;
      known.bytes += peer.bytes;
    } else if (peers.size < CANDIDATES_EACH) peers.set(key, peer);
  }
  const rowsNow = (): { readonly rows: HistoryRow[]; readonly ahead: readonly Peer[] } => {
    const withPeers = [...pods.values()].filter(({ peers }) => peers.passed.size + peers.dropped.size > 0);
    const each = peersEach(withPeers.length);
    const parts = [...pods.values()].map((pod) => rowsOfPod(pod, each));
    return { rows: parts.flatMap(({ rows }) => rows), ahead: parts.flatMap(({ ahead }) => ahead) };
  };
  return {
    count({ packets, bytes, ...counted }) {
      if (packets === 0 && bytes === 0) return;
      const { groups } = podOf(counted.pod);
      const [full, bare] = [namesIn(counted.policies), [] as readonly string[]].map((policies) => ({
        policies,
        key: [sideKey(counted), ...policies].join(" "),
      })) as [{ policies: readonly string[]; key: string }, { policies: readonly string[]; key: string }];
      const { key, policies } = groups.has(full.key) || groups.size < GROUPS_EACH ? full : bare;
      const group = groups.get(key) ?? { ...counted, policies, packets: 0, bytes: 0 };
      group.packets += packets;
      group.bytes += bytes;
      groups.set(key, group);
    },
    report: (reported) =>
      addPeer({ ...reported, policies: namesIn(reported.policies), packets: 1, waited: false }),
    rows: () => rowsNow().rows,
    seal() {
      const { rows, ahead } = rowsNow();
      pods = new Map();
      for (const peer of ahead) if (!peer.waited) addPeer({ ...peer, waited: true });
      return rows;
    },
  };
}

export const peersEach = (pods: number): number =>
  Math.max(1, Math.min(PEERS_EACH, Math.floor(PEERS_NODE / 2 / Math.max(1, pods))));

/** `each`: rows with a peer, of either class. */
function rowsOfPod(pod: Pod, each: number): { readonly rows: HistoryRow[]; readonly ahead: readonly Peer[] } {
  const groups = Map.groupBy(
    [...pod.groups.values()].map((group) => ({ ...group })),
    sideKey,
  );
  const rows: HistoryRow[] = [];
  const ahead: Peer[] = [];
  const left = { passed: each, dropped: each };
  const peers = [...pod.peers.passed.values(), ...pod.peers.dropped.values()];
  for (const peer of peers.sort((a, b) => b.packets - a.packets)) {
    const isKept = left[classOf(peer)] > 0;
    left[classOf(peer)] -= 1;
    // Those of the same policies first: a row belongs to the policies that the count was made under.
    const own = [...(groups.get(sideKey(peer)) ?? [])].sort(
      (a, b) => Number(isSame(b.policies, peer.policies)) - Number(isSame(a.policies, peer.policies)),
    );
    let { packets, bytes } = peer;
    for (const group of own) {
      const taken = takenFrom(group, { packets, bytes });
      if (taken.packets === 0) continue;
      packets -= taken.packets;
      bytes -= taken.bytes;
      if (!isKept) continue;
      group.packets -= taken.packets;
      group.bytes -= taken.bytes;
      const { pod: name, direction, reason, peer: end, port } = peer;
      rows.push({ pod: name, direction, reason, peer: end, port, policies: group.policies, ...taken });
    }
    if (packets > 0) ahead.push({ ...peer, packets, bytes });
  }
  for (const { packets, bytes, ...group } of [...groups.values()].flat())
    if (packets > 0 || bytes > 0) rows.push({ ...group, peer: "", port: "", packets, bytes });
  return { rows, ahead };
}

function takenFrom(group: Sum, wanted: Sum): Sum {
  const packets = Math.min(wanted.packets, group.packets);
  if (packets === 0) return { packets: 0, bytes: 0 };
  return { packets, bytes: Math.min(group.bytes, Math.round((wanted.bytes * packets) / wanted.packets)) };
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, at) => each === b[at]);
