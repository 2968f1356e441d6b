// The ports that a question is about: read from text, and cut where the policies of either end may make a difference.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { type Cluster, keyOf, type Protocol } from "../../model/cluster.ts";
import type { Rule } from "../../model/network-policy.ts";
import type { Party } from "../oracle.ts";
import { policiesOn } from "../subjects.ts";
import type { Found } from "./traced-ends.ts";

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

/** Cuts a range so that in none of the clusters a rule of either end tells two ports of one piece apart. */
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
  return policiesOn(cluster, pod, direction).flatMap((policy) =>
    policy.rules[direction].flatMap((rule) => rangesIn(cluster, rule, between)),
  );
}

function rangesIn(cluster: Cluster, { ports }: Rule, { protocol, to }: Between): PortRange[] {
  if (ports === "all") return [];
  return ports.flatMap((match): PortRange[] => {
    if (match.kind === "nothing" || match.protocol !== protocol) return [];
    if (match.kind === "range") return [match];
    // Every number that any of the destination's names has: a cut too many does no harm.
    const pod = to.kind === "pod" ? cluster.pods.get(keyOf(to.pod)) : undefined;
    return pod?.ports.map(({ port }) => ({ first: port, last: port })) ?? [];
  });
}
