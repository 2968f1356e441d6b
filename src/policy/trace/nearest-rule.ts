// Among the rules that do not match, the nearest one, and its unmet requirements.

import { assertNever } from "../../base/assert.ts";
import type { Direction } from "../../base/direction.ts";
import { cidrContains } from "../../base/ip.ts";
import {
  type Cluster,
  EXCEEDS_TEXT,
  isSelectable,
  keyOf,
  namespaceLabels,
  type Pod,
} from "../../model/cluster.ts";
import {
  exceptionsOf,
  type Peer,
  type Policy,
  type PortMatch,
  type Rule,
} from "../../model/network-policy.ts";
import { type Labels, matches, type Selector, selectorText } from "../../model/selector.ts";
import type { Party, Probe } from "../oracle.ts";
import { policiesOn } from "../subjects.ts";

/** A rule that would allow the traffic if it, or the traffic, were a little different. */
export interface NearRule {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  readonly rule: number;
  /** Index into from/to: the nearest peer; undefined if the peers match. */
  readonly peer: number | undefined;
  /** Its unmet requirements, each as a clause. */
  readonly wants: readonly string[];
}

/** An unmet requirement; `weight` is its distance from a match. */
interface Lack {
  readonly text: string;
  readonly weight: number;
}

/**
 * A wrong port alone is nearest, then a wrong label, then a wrong namespace; another kind of peer is furthest. Where the peer is
 * wrong too, a wrong port counts more: a rule for the port that was asked for is the one that people have in mind.
 */
const WEIGHT = {
  port: 1,
  portAndPeer: 4,
  label: 2,
  namespace: 3,
  block: 6,
  kind: 12,
  unreadable: 24,
} as const;

/** The nearest rule of the policies that isolate the end; undefined if they have none. */
export function nearestRule(cluster: Cluster, probe: Probe, direction: Direction): NearRule | undefined {
  const subject = direction === "ingress" ? probe.to : probe.from;
  if (subject.kind === "address") return undefined;
  const found = policiesOn(cluster, subject.pod, direction)
    .filter(({ unreadable }) => unreadable === undefined)
    .flatMap((policy) =>
      policy.rules[direction].flatMap((rule, index) => {
        if (rule.leftOut === true) return [];
        const { peer, lacks } = nearestPeer({ cluster, policy, probe, direction }, rule);
        const all = [...lacks, ...portLacks(rule, probe, lacks.length > 0)];
        const near: NearRule = {
          policy: keyOf(policy),
          rule: index,
          peer,
          wants: all.map(({ text }) => text),
        };
        return [{ near, weight: sum(all) }];
      }),
    );
  // Sorting is stable: among equals the first in the order of the policies and their rules.
  return found.sort((a, b) => a.weight - b.weight)[0]?.near;
}

const sum = (lacks: readonly Lack[]): number => lacks.reduce((total, { weight }) => total + weight, 0);

interface Asked {
  readonly cluster: Cluster;
  readonly policy: Policy;
  readonly probe: Probe;
  readonly direction: Direction;
}

/** The peer with the fewest unmet requirements. If one has none, the rule's peers match. */
function nearestPeer(asked: Asked, { peers }: Rule): { peer: number | undefined; lacks: readonly Lack[] } {
  if (peers === "anyone") return { peer: undefined, lacks: [] };
  const ranked = peers
    .map((peer, index) => ({ peer: index as number | undefined, lacks: peerLacks(asked, peer) }))
    .sort((a, b) => sum(a.lacks) - sum(b.lacks));
  const best = ranked[0];
  return best === undefined || best.lacks.length === 0 ? { peer: undefined, lacks: [] } : best;
}

function peerLacks(asked: Asked, peer: Peer): readonly Lack[] {
  const { probe, direction } = asked;
  const other = direction === "ingress" ? probe.from : probe.to;
  switch (peer.kind) {
    case "block": {
      const { text } = other.address;
      const except = exceptionsOf(peer).find((cidr) => cidrContains(cidr, other.address));
      if (!cidrContains(peer.cidr, other.address))
        return [{ text: `an address in ${peer.cidr.text} (it is ${text})`, weight: WEIGHT.block }];
      if (except === undefined) return [];
      const outside = `an address outside ${except.text}, which ${peer.cidr.text} excepts (it is ${text})`;
      return [{ text: outside, weight: WEIGHT.block }];
    }
    case "pods": {
      if (other.kind === "pod" && isSelectable(other.pod) && other.pod.exceeds !== true)
        return podLacks(asked, peer, other.pod);
      return [{ text: `a pod (${notSelectable(other)})`, weight: WEIGHT.kind }];
    }
    case "nothing":
      return [{ text: "a peer that can be read", weight: WEIGHT.unreadable }];
    default:
      return assertNever(peer, "kind of peer");
  }
}

function notSelectable(party: Party): string {
  if (party.kind === "address") return `${party.address.text} is no pod's address`;
  if (party.pod.exceeds === true) return `no selector matches ${keyOf(party.pod)}: ${EXCEEDS_TEXT}`;
  return `${keyOf(party.pod)} is a ${party.pod.hostNetwork ? "host-network" : "finished"} pod, which no selector matches`;
}

function podLacks({ cluster, policy }: Asked, peer: Peer & { readonly kind: "pods" }, pod: Pod): Lack[] {
  const labels = lacksOf(peer.pods, pod.labels, keyOf(pod)).map((text) => ({
    text: `a pod with ${text}`,
    weight: WEIGHT.label,
  }));
  if (peer.namespaces !== undefined) {
    const own = namespaceLabels(cluster, pod.namespace);
    const namespaces = lacksOf(peer.namespaces, own, `namespace ${pod.namespace}`).map((text) => ({
      text: `a namespace with ${text}`,
      weight: WEIGHT.namespace,
    }));
    return [...namespaces, ...labels];
  }
  if (pod.namespace === policy.namespace) return labels;
  const elsewhere = `a pod of namespace ${policy.namespace} (${keyOf(pod)} is of ${pod.namespace})`;
  return [{ text: elsewhere, weight: WEIGHT.namespace }, ...labels];
}

/** Each unmet requirement, with the actual value. */
function lacksOf(selector: Selector, labels: Labels, name: string): string[] {
  return selector.requirements
    .filter((each) => !matches({ requirements: [each] }, labels))
    .map((each) => {
      const value = labels.get(each.key);
      const has = value === undefined ? `has no label ${each.key}` : `has ${each.key}=${value}`;
      return `${selectorText({ requirements: [each] })} (${name} ${has})`;
    });
}

function portLacks({ ports }: Rule, probe: Probe, isPeerWrong: boolean): Lack[] {
  if (ports === "all" || ports.some((match) => isMet(match, probe))) return [];
  const protocols = new Set(ports.map((match) => (match.kind === "nothing" ? undefined : match.protocol)));
  const wanted = ports.map((match) => portText(match, probe)).join(" or ");
  const isSame = [...protocols].some((protocol) => protocol === probe.protocol);
  const weight = isPeerWrong ? WEIGHT.portAndPeer : WEIGHT.port;
  return [{ text: `port ${wanted}`, weight: isSame ? weight : weight + 1 }];
}

const isMet = (match: PortMatch, probe: Probe): boolean =>
  match.kind !== "nothing" &&
  match.protocol === probe.protocol &&
  (match.kind === "range"
    ? match.first <= probe.port && probe.port <= match.last
    : numbersAt(match, probe.to).includes(probe.port));

/** The numbers that a port name has on the destination, if that is a pod. */
const numbersAt = (match: PortMatch & { readonly kind: "name" }, to: Party): number[] =>
  to.kind === "pod" && isSelectable(to.pod)
    ? to.pod.ports
        .filter(({ name, protocol }) => name === match.name && protocol === match.protocol)
        .map(({ port }) => port)
    : [];

function portText(match: PortMatch, { to }: Probe): string {
  if (match.kind === "nothing") return "that can be read";
  const { protocol } = match;
  if (match.kind === "range") {
    if (match.first === 0 && match.last === 65_535) return `${protocol}/*`;
    return `${protocol}/${match.first}${match.last === match.first ? "" : `-${match.last}`}`;
  }
  if (to.kind === "address")
    return `${protocol}/${match.name} (${to.address.text} is no pod's: it names no port)`;
  const numbers = numbersAt(match, to);
  const meaning =
    numbers.length === 0 ? "which it does not declare" : numbers.map((number) => String(number)).join(", ");
  return `${protocol}/${match.name} (on ${keyOf(to.pod)}: ${meaning})`;
}
