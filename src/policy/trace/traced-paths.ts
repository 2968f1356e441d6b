// Whether one end reaches another, and why: the verdict of both ends on every queried port, the rules that
// allow, and if none does, the nearest one.

import type { Direction } from "../../base/direction.ts";
import { type Cluster, keyOf, type Protocol } from "../../model/cluster.ts";
import type { Frontend } from "../../model/frontends.ts";
import {
  evaluate,
  type Isolation,
  type Party,
  type Probe,
  type SideVerdict,
  sideVerdict,
  type Verdict,
} from "../oracle.ts";
import { partyOf } from "../service-oracle.ts";
import { policiesOn } from "../subjects.ts";
import { clusterPoliciesOn } from "../tiers.ts";
import { type NearRule, nearestRule } from "./nearest-rule.ts";
import { type End, type PortRange, piecesOf } from "./traced-ends.ts";

export interface TracedSide {
  readonly verdict: SideVerdict;
  /** The policies that isolate this end, whether they allow the traffic or not. */
  readonly isolatedBy: readonly Isolation[];
  /** Only for a denial. */
  readonly nearest: NearRule | undefined;
  /** Names of rules that would let the source through if it had resolved them to the destination; only for a denial of one that has none. */
  readonly namesMissing: readonly string[];
}

/** One connection, or one for each of several ports that nothing distinguishes. */
export interface Path {
  /** With the first of the ports. */
  readonly probe: Probe;
  /** Undefined for ICMP. */
  readonly ports: PortRange | undefined;
  readonly allowed: boolean;
  /** Whether it is allowed without the change; undefined if there is no change, or an end did not exist before. */
  readonly before: boolean | undefined;
  readonly sides: { readonly [direction in Direction]: TracedSide };
  /** The Service's port to which the connection is made, if not to the destination's own port. */
  readonly via?: Via;
}

/** A Service's port on the way to one of its backends. */
export interface Via {
  readonly frontend: Frontend;
  /** Whether packets to it may leave the client; the backend's end still judges each. */
  readonly leaves: boolean;
  /** What the client's policies say of the frontend's address without the Service, where that counts too. */
  readonly itself?: TracedSide;
}

/** A pair of addresses: the first of either end for each family that both have. */
export interface Route {
  readonly from: Party;
  readonly to: Party;
}

export function routesOf(from: End, to: End): readonly Route[] {
  const first = ({ parties }: End, family: 4 | 6) => parties.find(({ address }) => address.family === family);
  return ([4, 6] as const).flatMap((family) => {
    const [source, destination] = [first(from, family), first(to, family)];
    return source === undefined || destination === undefined ? [] : [{ from: source, to: destination }];
  });
}

/** The input of a query: the cluster and, for a change, also the cluster without it. */
export interface Worlds {
  readonly cluster: Cluster;
  readonly before: Cluster | undefined;
  /** The domain names that one end has resolved to the other's address. */
  readonly namesOf?: (from: Party, to: Party) => readonly string[];
}

/** The paths of a route: one for each run of ports with one outcome, in rising order. */
export function pathsOf(
  worlds: Worlds,
  { from, to }: Route,
  traffic: { readonly protocol: Protocol; readonly ranges: readonly PortRange[] } | "ICMP",
): readonly Path[] {
  const names = worlds.namesOf?.(from, to) ?? [];
  const ends = { from, to, ...(names.length > 0 && { names }) };
  if (traffic === "ICMP") return [traced(worlds, judged(worlds, { ...ends, protocol: "ICMP", port: 0 }))];
  const { protocol } = traffic;
  const { cluster, before = cluster } = worlds;
  return traffic.ranges.flatMap((range) => {
    const pieces = piecesOf([cluster, before], { from, to, protocol }, range);
    const each = pieces.map((ports) => judged(worlds, { ...ends, protocol, port: ports.first }, ports));
    return merged(each).map((one) => traced(worlds, one));
  });
}

interface Judged {
  readonly ports: PortRange | undefined;
  readonly verdict: Verdict;
  readonly before: boolean | undefined;
  readonly namesMissing: readonly string[];
}

function judged({ cluster, before }: Worlds, probe: Probe, ports?: PortRange): Judged {
  const earlier = before === undefined ? undefined : probeIn(before, probe);
  const verdict = evaluate(cluster, probe);
  return {
    ports,
    verdict,
    namesMissing: namesMissingOf(cluster, probe, "egress", verdict.egress),
    before: before === undefined || earlier === undefined ? undefined : evaluate(before, earlier).allowed,
  };
}

/** The same between the pods as they are in another cluster; undefined if one does not exist there. */
function probeIn(cluster: Cluster, probe: Probe): Probe | undefined {
  const [from, to] = [partyIn(cluster, probe.from), partyIn(cluster, probe.to)];
  return from === undefined || to === undefined ? undefined : { ...probe, from, to };
}

/** The same end in another cluster; undefined if the pod does not exist there. */
export function partyIn(cluster: Cluster, party: Party): Party | undefined {
  if (party.kind === "address") return party;
  if (party.pod.retained !== undefined) return party;
  const pod = cluster.pods.get(keyOf(party.pod));
  return pod && partyOf(cluster, pod, party.address);
}

/** Joins neighbours that have the same outcome for the same reasons. */
function merged(all: readonly Judged[]): readonly Judged[] {
  const joined: Judged[] = [];
  for (const each of all) {
    const last = joined.at(-1);
    if (last?.ports !== undefined && each.ports !== undefined && outcome(last) === outcome(each))
      joined[joined.length - 1] = { ...last, ports: { first: last.ports.first, last: each.ports.last } };
    else joined.push(each);
  }
  return joined;
}

const outcome = ({ verdict: { egress, ingress }, before, namesMissing }: Judged): string =>
  JSON.stringify([egress, ingress, before, namesMissing]);

function traced({ cluster }: Worlds, { verdict, ports, before }: Judged): Path {
  const { probe, allowed } = verdict;
  const side = (direction: Direction): TracedSide => sideOf(cluster, probe, direction, verdict[direction]);
  return { probe, ports, allowed, before, sides: { egress: side("egress"), ingress: side("ingress") } };
}

/** A verdict with its explanation. */
export const sideOf = (
  cluster: Cluster,
  probe: Probe,
  direction: Direction,
  verdict: SideVerdict,
): TracedSide => ({
  verdict,
  isolatedBy: isolationOf(cluster, probe, verdict, direction),
  nearest:
    (verdict.kind === "denied" || verdict.kind === "audit") && verdict.by === undefined
      ? nearestRule(cluster, probe, direction)
      : undefined,
  namesMissing: namesMissingOf(cluster, probe, direction, verdict),
});

function namesMissingOf(
  cluster: Cluster,
  probe: Probe,
  direction: Direction,
  { kind }: SideVerdict,
): readonly string[] {
  const { from, names: known = [] } = probe;
  if (direction === "ingress" || kind !== "denied" || known.length > 0 || from.kind === "address") return [];
  const peers = clusterPoliciesOn(cluster, from.pod, "egress").flatMap(({ rules }) =>
    rules.egress.flatMap((rule) => (rule.peers === "anyone" ? [] : rule.peers)),
  );
  const names = peers.flatMap((peer) => (peer.kind === "domain" ? [peer.name] : []));
  // A wildcard as a name is any one name below it.
  const opens = (name: string): boolean =>
    sideVerdict(cluster, { ...probe, names: [name] }, "egress").kind === "accepted";
  return [...new Set(names)].filter(opens);
}

function isolationOf(
  cluster: Cluster,
  probe: Probe,
  verdict: SideVerdict,
  direction: Direction,
): readonly Isolation[] {
  const subject = direction === "ingress" ? probe.to : probe.from;
  if (subject.kind === "address" || verdict.kind === "loopback") return [];
  const policies = [subject.pod, ...(subject.rivals ?? [])].flatMap((pod) =>
    policiesOn(cluster, pod, direction),
  );
  return [...new Set(policies)].map((policy) => ({ policy: keyOf(policy), unreadable: policy.unreadable }));
}
