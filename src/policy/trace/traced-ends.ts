// The two ends and the ports of a trace, as people write them.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { parseAddress } from "../../base/ip.ts";
import { hintText } from "../../base/nearest-word.ts";
import { type Cluster, keyOf, type Protocol } from "../../model/cluster.ts";
import type { Rule } from "../../model/network-policy.ts";
import { addressesOfService } from "../../model/service.ts";
import type { Party } from "../oracle.ts";
import { partyAt, partyOf } from "../service-oracle.ts";
import { policiesOn } from "../subjects.ts";
import { clusterPoliciesOn } from "../tiers.ts";

// The two ends of a query as people write them: the name of a pod or Service, or an address, which may be theirs.

/** One end: the same pod by each of its addresses, or one address. */
export interface End {
  /** The readable name: `namespace/name`, or the address. */
  readonly name: string;
  readonly parties: readonly Party[];
  /** `namespace/name` of the Service whose address it is. */
  readonly service?: string;
}

export type Found<T> =
  | { readonly ok: true; readonly value: T }
  /** `missing`: the name is valid, but nothing has it. */
  | { readonly ok: false; readonly reason: string; readonly missing: boolean };

/**
 * Resolves `namespace/name` of a pod or Service, or an address, in a cluster. If a pod and a Service share a name, it is
 * the pod; `service/namespace/name` is always the Service.
 */
export function endOf(cluster: Cluster, text: string): Found<End> {
  if (!text.includes("/")) return endAt(cluster, text);
  const [, named] = /^service\/(.+\/.+)$/.exec(text) ?? [];
  const pod = cluster.pods.get(text);
  if (pod === undefined || named !== undefined) return serviceCalled(cluster, named ?? text);
  if (pod.ips.length === 0) return { ok: false, reason: `pod ${text} has no address yet`, missing: false };
  return {
    ok: true,
    value: { name: text, parties: pod.ips.map((address) => partyOf(cluster, pod, address)) },
  };
}

function serviceCalled(cluster: Cluster, name: string): Found<End> {
  const service = cluster.services.get(name);
  if (service === undefined) {
    const hint = hintText(name, [...cluster.pods.keys(), ...cluster.services.keys()]);
    return { ok: false, reason: `no pod or Service ${name}${hint}`, missing: true };
  }
  const { clusterIps, externalIps, loadBalancerIps } = service;
  const addresses = clusterIps.length > 0 ? clusterIps : [...externalIps, ...loadBalancerIps];
  if (addresses.length === 0) {
    const reason = `Service ${name} has no address of its own: clients connect to the addresses in DNS; query those`;
    return { ok: false, reason, missing: false };
  }
  const parties = addresses.map((address): Party => ({ kind: "address", address }));
  return { ok: true, value: { name, parties, service: name } };
}

function endAt(cluster: Cluster, text: string): Found<End> {
  const parsed = parseAddress(text);
  if (!parsed.ok) {
    const reason = `${JSON.stringify(text)} is neither NAMESPACE/NAME nor an address: ${parsed.reason}`;
    return { ok: false, reason, missing: false };
  }
  const address = parsed.value;
  const service = serviceAt(cluster, address.text);
  const end: End = { name: address.text, parties: [partyAt(cluster, address)] };
  return { ok: true, value: service === undefined ? end : { ...end, service } };
}

/** The first Service in key order that has the address. */
const serviceAt = (cluster: Cluster, address: string): string | undefined =>
  [...cluster.services]
    .filter(([, service]) => addressesOfService(service).some(({ text }) => text === address))
    .map(([key]) => key)
    .sort()[0];

// The ports of a query: parsed from text, and split where the policies of either end may distinguish them.

/** Ports first to last, inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export const EVERY_PORT: PortRange = { first: 0, last: 65_535 };

/** A number, a range ("8000-8080"), or the name of a port that the destination's pod declares for the protocol. */
export function portsOf(text: string, protocol: Protocol, to: Party): Found<readonly PortRange[]> {
  const wrong = (reason: string, missing = false): Found<never> => ({ ok: false, reason, missing });
  const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  if (first !== undefined && last !== undefined) {
    const range = { first: Number(first), last: Number(last) };
    if (range.last > EVERY_PORT.last) return wrong(`port ${text} is beyond ${EVERY_PORT.last}`);
    if (range.first > range.last) return wrong(`ports ${text} end before they begin`);
    return { ok: true, value: [range] };
  }
  if (!/^[a-z0-9-]*[a-z][a-z0-9-]*$/.test(text))
    return wrong(`${JSON.stringify(text)} is neither a port, a range (8000-8080), nor a port's name`);
  if (to.kind === "address") return wrong(`port ${text}: an address that is no pod's has no named ports`);
  const named = to.pod.ports.filter((port) => port.name === text && port.protocol === protocol);
  if (named.length === 0) {
    const { namespace, name } = to.pod;
    return wrong(`pod ${namespace}/${name} declares no ${protocol} port called ${text}`, true);
  }
  return { ok: true, value: named.map(({ port }) => ({ first: port, last: port })) };
}

/** The ends and the traffic between them. */
export interface Between {
  readonly from: Party;
  readonly to: Party;
  readonly protocol: Protocol;
}

/** Splits a range so that in none of the clusters a rule of either end distinguishes two ports of one piece. */
export function piecesOf(clusters: readonly Cluster[], between: Between, range: PortRange): PortRange[] {
  const cuts = clusters.flatMap((cluster) =>
    DIRECTIONS.flatMap((direction) => rangesAt(cluster, between, direction)),
  );
  const starts = new Set([range.first, ...cuts.flatMap(({ first, last }) => [first, last + 1])]);
  const sorted = [...starts]
    .filter((start) => range.first <= start && start <= range.last)
    .sort((a, b) => a - b);
  return sorted.map((first, index) => ({ first, last: (sorted[index + 1] ?? range.last + 1) - 1 }));
}

/** The ports that the policies of one end name. */
function rangesAt(cluster: Cluster, between: Between, direction: Direction): PortRange[] {
  const subject = direction === "ingress" ? between.to : between.from;
  const pod = subject.kind === "pod" ? cluster.pods.get(keyOf(subject.pod)) : undefined;
  if (pod === undefined) return [];
  return [...policiesOn(cluster, pod, direction), ...clusterPoliciesOn(cluster, pod, direction)].flatMap(
    ({ rules }) => rules[direction].flatMap((rule) => rangesIn(cluster, rule, between)),
  );
}

function rangesIn(cluster: Cluster, { ports }: Pick<Rule, "ports">, { protocol, to }: Between): PortRange[] {
  if (ports === "all") return [];
  return ports.flatMap((match): PortRange[] => {
    if (match.kind === "nothing" || match.protocol !== protocol) return [];
    if (match.kind === "range") return [match];
    // Every number that any of the destination's names has: a superfluous split does no harm.
    const pod = to.kind === "pod" ? cluster.pods.get(keyOf(to.pod)) : undefined;
    return pod?.ports.map(({ port }) => ({ first: port, last: port })) ?? [];
  });
}
