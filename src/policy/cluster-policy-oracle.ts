// The oracle for ClusterNetworkPolicy: what the rules of one tier decide about a new connection, from the API's text alone.
//
// "API" in the comments is the field documentation of policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy
// (sigs.k8s.io/network-policy-api). Like the oracle for NetworkPolicy it evaluates every policy for every connection, and shares
// no code with the compiler.

import { assertNever } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import {
  type Address,
  cidrContains,
  cidrCovers,
  LINK_LOCAL_V6,
  MULTICAST,
  UNSPECIFIED_V4,
} from "../base/ip.ts";
import {
  type Cluster,
  isSealed,
  isSelectable,
  isSubject,
  namespaceLabels,
  type Pod,
} from "../model/cluster.ts";
import {
  ACTIONS,
  type Action,
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  type Tier,
} from "../model/cluster-network-policy.ts";
import { matches } from "../model/selector.ts";
import { type Party, type Probe, portMatches } from "./probe.ts";

/** The rule that decides in a tier. */
export interface TierDecision {
  readonly action: Action;
  /** Name of the policy. */
  readonly policy: string;
  readonly tier: Tier;
  readonly priority: number;
  /** Index into spec.ingress or spec.egress. */
  readonly rule: number;
  readonly ruleName?: string;
  /** The domain name that the source has resolved to the destination, where the rule has it. */
  readonly domain?: string;
  /**
   * The other end has an address that pods or nodes that the rule names may have or receive at: then the action is Deny. Or it is a pod whose
   * labels and port names are not known.
   */
  readonly byAmbiguity?: "link-local" | "unspecified" | "multicast" | "labels";
  /** Why the rule, or its policy, denies more than it says. */
  readonly unreadable?: string;
}

/**
 * What a tier decides for a pod; undefined if no rule of it matches, which continues like Pass.
 *
 * API, spec.priority: the policies of a tier in the order of their priority, the lowest first. Where policies have equal priority
 * the API leaves the order open: here each of them is evaluated by itself, and Deny counts before Pass, and Pass before Accept.
 */
export function tierDecision(
  cluster: Cluster,
  {
    pod,
    tier,
    probe,
    direction,
  }: {
    readonly pod: Pod;
    readonly tier: Tier;
    readonly probe: Probe;
    readonly direction: Direction;
  },
): TierDecision | undefined {
  const decisions = selectingPolicies(cluster, pod)
    .filter((policy) => policy.tier === tier)
    .flatMap((policy) => firstMatch(cluster, policy, probe, direction) ?? []);
  const [first] = decisions.sort(
    (a, b) =>
      a.priority - b.priority ||
      ACTIONS.indexOf(b.action) - ACTIONS.indexOf(a.action) ||
      (a.policy < b.policy ? -1 : 1),
  );
  return first;
}

/** Whether a cluster policy has rules for the pod in a direction. */
export const hasTierRules = (cluster: Cluster, pod: Pod, direction: Direction): boolean =>
  selectingPolicies(cluster, pod).some(({ rules }) => rules[direction].length > 0);

/** Whether a rule denies everything to everyone, as rules do that cannot be read. */
export const deniesEveryone = (
  cluster: Cluster,
  pod: Pod,
  { direction, tiers }: { readonly direction: Direction; readonly tiers: readonly Tier[] },
): boolean =>
  selectingPolicies(cluster, pod).some(
    ({ tier, rules }) =>
      tiers.includes(tier) &&
      rules[direction].some(({ action, peers }) => action === "Deny" && peers === "anyone"),
  );

/** API, spec.subject: pods of the selected namespaces; not those on the host's network. */
function selectingPolicies(cluster: Cluster, pod: Pod): ClusterPolicy[] {
  if (!isSubject(pod) || isSealed(pod)) return [];
  return [...(cluster.clusterPolicies?.values() ?? [])].filter(
    ({ subject }) =>
      matches(subject.namespaces, namespaceLabels(cluster, pod.namespace)) &&
      matches(subject.pods, pod.labels),
  );
}

/** API, spec.ingress and spec.egress: the rules of one policy in the order in which they are written; the first that matches. */
function firstMatch(
  cluster: Cluster,
  policy: ClusterPolicy,
  probe: Probe,
  direction: Direction,
): TierDecision | undefined {
  const { name, tier, priority, rules, unreadable } = policy;
  const matching = (rule: ClusterRule): boolean => ruleMatches(cluster, rule, probe, direction);
  const unknowing = (rule: ClusterRule): boolean =>
    countsUnknown(rule, probe) && unknownMatches(cluster, rule, probe, direction);
  const index = rules[direction].findIndex(
    (rule) => matching(rule) || mayMatch(rule, probe, direction) || unknowing(rule),
  );
  const rule = rules[direction][index];
  if (rule === undefined) return undefined;
  const isSure = matching(rule);
  const isUnknown = !isSure && !mayMatch(rule, probe, direction);
  const other = direction === "ingress" ? probe.from : probe.to;
  return {
    action: isSure || isUnknown ? rule.action : "Deny",
    policy: name,
    tier,
    priority,
    rule: index,
    ...(rule.name !== undefined && { ruleName: rule.name }),
    ...(probe.name !== undefined && hasDomains(rule) && { domain: probe.name }),
    ...(!isSure && { byAmbiguity: isUnknown ? "labels" : ambiguityOf(other.address) }),
    ...(unreadable !== undefined && { unreadable }),
  };
}

const ambiguityOf = (address: Address) =>
  isMulticast(address) ? "multicast" : cidrContains(UNSPECIFIED_V4, address) ? "unspecified" : "link-local";

const hasDomains = ({ peers }: ClusterRule): boolean =>
  peers !== "anyone" && peers.some(({ kind }) => kind === "domain");

function ruleMatches(cluster: Cluster, rule: ClusterRule, probe: Probe, direction: Direction): boolean {
  const other = direction === "ingress" ? probe.from : probe.to;
  // Protocols: where they are missing, all traffic matches. A port's name is a pod's: what a domain name leads to has none.
  const hasPort = (numbered: boolean): boolean =>
    rule.ports === "all" ||
    rule.ports.some((port) => !(numbered && port.kind === "name") && portMatches(port, probe, direction));
  if (rule.peers === "anyone") return hasPort(false);
  // API, from and to: one element that matches is enough.
  const name = nameFor(cluster, probe);
  return rule.peers.some(
    (peer) => peerMatches(cluster, peer, { other, name }) && hasPort(peer.kind === "domain"),
  );
}

/** Whether a rule's ports match where it is not known which number a port's name has at the other end: any. */
const mayHavePort = (ports: ClusterRule["ports"], probe: Probe, direction: Direction): boolean =>
  ports === "all" ||
  ports.some((port) =>
    port.kind === "name" && direction === "egress"
      ? port.protocol === probe.protocol
      : portMatches(port, probe, direction),
  );

/**
 * docs/cluster-policy.md, link-local, unspecified and multicast addresses: whose they are is not in the API. Where a rule names pods, nodes or networks that may have one,
 * Deny and Pass both deny them, and Accept does not match them. It is not known either which number a port's name has there: any.
 */
function mayMatch({ action, peers, ports }: ClusterRule, probe: Probe, direction: Direction): boolean {
  const { address } = direction === "ingress" ? probe.from : probe.to;
  if (action === "Accept" || peers === "anyone" || !mayHavePort(ports, probe, direction)) return false;
  const isHost = ({ kind }: ClusterPeer): boolean => kind === "pods" || kind === "nodes";
  const isNetwork = (peer: ClusterPeer): boolean =>
    peer.kind === "block" && peer.cidr.family === 6 && !cidrCovers(LINK_LOCAL_V6, peer.cidr);
  if (cidrContains(LINK_LOCAL_V6, address)) return peers.some((peer) => isHost(peer) || isNetwork(peer));
  if (cidrContains(UNSPECIFIED_V4, address))
    return (
      direction === "ingress" &&
      peers.some(
        (peer) =>
          isHost(peer) ||
          (peer.kind === "block" && peer.cidr.family === 4 && !cidrContains(peer.cidr, address)),
      )
    );
  return direction === "egress" && isMulticast(address) && peers.some(isHost);
}

/**
 * docs/limits.md: a peer with unknown labels has what is allowed whatever they are. So rules that deny count where they may match, those that
 * accept do not, and those that pass are evaluated both ways.
 */
const countsUnknown = ({ action }: ClusterRule, { passes }: Probe): boolean =>
  action === "Deny" || (action === "Pass" && passes === true);

/** Whether a rule matches a peer whose labels, and port names, are not known, for some labels that its pod may have. */
function unknownMatches(
  cluster: Cluster,
  { peers, ports }: ClusterRule,
  probe: Probe,
  direction: Direction,
): boolean {
  const other = direction === "ingress" ? probe.from : probe.to;
  if (other.kind === "address" || other.pod.exceeds !== true || !isSelectable(other.pod)) return false;
  const { namespace } = other.pod;
  const name = nameFor(cluster, probe);
  return (
    mayHavePort(ports, probe, direction) &&
    (peers === "anyone" ||
      peers.some((peer) =>
        peer.kind === "pods"
          ? matches(peer.namespaces, namespaceLabels(cluster, namespace))
          : peer.kind !== "domain" && peerMatches(cluster, peer, { other, name }),
      ))
  );
}

const isMulticast = (address: Address): boolean => MULTICAST.some((cidr) => cidrContains(cidr, address));

/** docs/limits.md: for pods of a namespace whose names do not fit, no rule has a name. */
const nameFor = ({ nameless = [] }: Cluster, { from, name }: Probe): string | undefined =>
  from.kind === "pod" && nameless.includes(from.pod.namespace) ? undefined : name;

/** "*.example.com" as a name is any one name below it. */
const nameMatches = (pattern: string, name: string): boolean =>
  pattern === name || (pattern.startsWith("*.") && name.endsWith(pattern.slice(1)));

function peerMatches(
  cluster: Cluster,
  peer: ClusterPeer,
  { other, name }: { readonly other: Party; readonly name: string | undefined },
): boolean {
  switch (peer.kind) {
    case "pods":
      // API, namespaces and pods: host-networked pods are not included.
      return (
        other.kind === "pod" &&
        isSelectable(other.pod) &&
        other.pod.exceeds !== true &&
        matches(peer.namespaces, namespaceLabels(cluster, other.pod.namespace)) &&
        matches(peer.pods, other.pod.labels)
      );
    case "nodes":
      // API, nodes: the addresses in the status of the nodes, also where a pod has them.
      return [...(cluster.nodes?.values() ?? [])].some(
        ({ labels, addresses }) =>
          matches(peer.nodes, labels) && addresses.some(({ text }) => text === other.address.text),
      );
    case "block":
      // API, networks: traffic inside the cluster is compared, too.
      return cidrContains(peer.cidr, other.address);
    case "domain":
      // API, domainNames: the names themselves; "*." is one or more whole labels before what follows it.
      return name !== undefined && nameMatches(peer.name, name);
    default:
      return assertNever(peer, "kind of peer");
  }
}
