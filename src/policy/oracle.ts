// The oracle: whether policies allow a new connection, and why, from the text of the NetworkPolicy v1 API alone. The tiers before
// and after NetworkPolicies are in cluster-policy-oracle.ts.
//
// "API" in the comments is the field documentation of networking.k8s.io/v1 NetworkPolicy (k8s.io/api, types.go);
// "Concepts" is kubernetes.io/docs/concepts/services-networking/network-policies. The oracle shares no code with the
// compiler for the kernel, and is slow: it evaluates every policy for every connection, in the order of
// the text, so that it can be checked by reading the two side by side.

import { assert, assertNever } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import { cidrContains, cidrCovers, LINK_LOCAL_V6, UNSPECIFIED_V4 } from "../base/ip.ts";
import { type Cluster, isSealed, isSubject, keyOf, namespaceLabels, type Pod } from "../model/cluster.ts";
import { isOpened, modeOn } from "../model/enforcement-mode.ts";
import type { Peer, Policy, Rule } from "../model/network-policy.ts";
import { matches } from "../model/selector.ts";
import { hasTierRules, type TierDecision, tierDecision } from "./cluster-policy-oracle.ts";
import { type Party, type Probe, portMatches, selectablePod, subjectOf } from "./probe.ts";

export type { Party, Probe } from "./probe.ts";

/** One way in which a policy allows the connection. The numbers are indices into the manifest's lists. */
export interface Allowance {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  readonly rule: number;
  /** Index into from/to; undefined if the rule is for everyone. */
  readonly peer: number | undefined;
  /** Index into ports; undefined if the rule is for all ports. */
  readonly port: number | undefined;
}

/** A policy that isolates the pod; `unreadable` is the reason why it can allow nothing. */
export interface Isolation {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  readonly unreadable: string | undefined;
}

export type SideVerdict =
  /** This end is not a pod that policies can select, so nothing restricts it. */
  | { readonly kind: "not-applicable" }
  /** The pod connects to itself, which policies cannot block. */
  | { readonly kind: "loopback" }
  /** No policy applies to the pod in this direction. */
  | { readonly kind: "not-isolated" }
  /** Every allowance, in the order of the cluster's policies. */
  | { readonly kind: "allowed"; readonly by: readonly Allowance[] }
  /** Accepted by the rule of a cluster policy. */
  | { readonly kind: "accepted"; readonly by: TierDecision }
  /** Would be denied, but none of these policies is enforced: it passes, and is reported. */
  | { readonly kind: "audit"; readonly isolatedBy: readonly Isolation[]; readonly by?: TierDecision }
  /** By the rule `by` of a cluster policy, else because no NetworkPolicy that isolates allows it. */
  | { readonly kind: "denied"; readonly isolatedBy: readonly Isolation[]; readonly by?: TierDecision };

export interface Verdict {
  readonly probe: Probe;
  readonly allowed: boolean;
  readonly egress: SideVerdict;
  readonly ingress: SideVerdict;
}

/**
 * Whether the connection is allowed: the source's egress and the destination's ingress must both allow it (Concepts, the
 * two sorts of pod isolation).
 *
 * That a pod's own node always reaches it does not depend on policies, so it is not decided here: a host-network pod is
 * judged as if it ran on another node, by its address.
 */
export function evaluate(cluster: Cluster, probe: Probe): Verdict {
  const egress = sideVerdict(cluster, probe, "egress");
  const ingress = sideVerdict(cluster, probe, "ingress");
  return { probe, allowed: permits(egress) && permits(ingress), egress, ingress };
}

/** Whether this end lets the connection pass. */
export const permits = (verdict: SideVerdict): boolean => verdict.kind !== "denied";

/** The verdict of one end alone: the source's egress or the destination's ingress. */
export function sideVerdict(cluster: Cluster, probe: Probe, direction: Direction): SideVerdict {
  assert(probe.from.address.family === probe.to.address.family, "a probe's addresses are of one family");
  const { names = [], ...unnamed } = probe;
  return byNames(names, direction, (name) => sideVerdictBy(cluster, named(unnamed, name), direction));
}

/**
 * docs/cluster-policy.md, domain names: an address is judged without a name, and as each name that the source has resolved to it; one
 * verdict that lets the connection pass is enough. The first one.
 */
function byNames(
  names: readonly string[],
  direction: Direction,
  judge: (name: string | undefined) => SideVerdict,
): SideVerdict {
  const plain = judge(undefined);
  if (direction === "ingress" || (plain.kind !== "denied" && plain.kind !== "audit")) return plain;
  return names.map(judge).find(({ kind }) => kind !== "denied" && kind !== "audit") ?? plain;
}

const named = (probe: Probe, name: string | undefined): Probe =>
  name === undefined ? probe : { ...probe, name };

function sideVerdictBy(cluster: Cluster, probe: Probe, direction: Direction): SideVerdict {
  return strictest(probe, (certain) => {
    const subject = subjectOf(direction === "ingress" ? certain.to : certain.from);
    const other = direction === "ingress" ? certain.from : certain.to;
    if (subject === undefined) return { kind: "not-applicable" };
    // Concepts, overview, of the pods that may be allowed: a pod cannot block access to itself.
    if (other.kind === "pod" && isSame(other.pod, subject)) return { kind: "loopback" };
    return certainVerdict(cluster, certain, direction);
  });
}

/** The same by policies alone, without the exception for a pod's connections to itself. */
export const policyVerdict = (cluster: Cluster, probe: Probe, direction: Direction): SideVerdict =>
  byNames(probe.names ?? [], direction, (name) =>
    strictest(named(probe, name), (certain) => certainVerdict(cluster, certain, direction)),
  );

/**
 * If the pod at an end is ambiguous, the connection is allowed only if it is allowed for each of the
 * possible pods. The verdict is the strictest one.
 */
function strictest(probe: Probe, judge: (certain: Probe) => SideVerdict): SideVerdict {
  const verdicts = possibilities(probe.from).flatMap((from) =>
    possibilities(probe.to).map((to) => judge({ ...probe, from, to })),
  );
  return strictestOf(verdicts);
}

function strictestOf(verdicts: readonly SideVerdict[]): SideVerdict {
  const [worst] = verdicts.toSorted((a, b) => STRICTNESS.indexOf(a.kind) - STRICTNESS.indexOf(b.kind));
  return worst as SideVerdict;
}

const STRICTNESS: readonly SideVerdict["kind"][] = [
  "denied",
  "audit",
  "allowed",
  "accepted",
  "not-isolated",
  "loopback",
  "not-applicable",
];

const possibilities = (party: Party): readonly Party[] =>
  party.kind === "address"
    ? [party]
    : [party.pod, ...(party.rivals ?? [])].map((pod) => ({ kind: "pod", pod, address: party.address }));

/**
 * The verdict for one pod at each end. A peer without an object gets nothing that its last labels would allow, and not what they deny, port names aside.
 * docs/limits.md: one whose labels are not known gets what is allowed whatever they are.
 */
function certainVerdict(cluster: Cluster, probe: Probe, direction: Direction): SideVerdict {
  const end = direction === "ingress" ? "from" : "to";
  const peer = probe[end];
  const verdict = verdictOn(cluster, probe, direction);
  if (peer.kind === "address" || !isSubject(peer.pod)) return verdict;
  const { retained, ...last } = peer.pod;
  const whatever = (one: Probe): SideVerdict[] =>
    last.exceeds === true ? [verdictOn(cluster, { ...one, passes: true }, direction)] : [];
  if (retained === undefined) return strictestOf([verdict, ...whatever(probe)]);
  const asLast = { ...probe, [end]: { ...peer, pod: { ...last, ports: [] } } };
  return strictestOf([verdict, verdictOn(cluster, asLast, direction), ...whatever(asLast)]);
}

function verdictOn(cluster: Cluster, probe: Probe, direction: Direction): SideVerdict {
  const subject = subjectOf(direction === "ingress" ? probe.to : probe.from);
  if (subject === undefined) return { kind: "not-applicable" };
  const { retained } = subject;
  const closed: SideVerdict = { kind: isOpened(cluster, subject) ? "audit" : "denied", isolatedBy: [] };
  // A pod whose namespace is gone, or whose labels are not known, is allowed nothing.
  if (isSealed(subject)) return closed;
  const selecting = [...cluster.policies.values()].filter((policy) => applies(policy, subject, direction));
  // docs/audit.md: audited policies are evaluated only if no enforced one applies; then nothing is dropped.
  const enforced = selecting.filter((policy) => modeOn(cluster, policy, subject) === "enforce");
  // The same: one without a running object is never less isolated than it last was.
  if (retained?.isolated[direction] === true && enforced.length === 0) return closed;
  const decide = (tier: TierDecision["tier"]) =>
    tierDecision(cluster, { pod: subject, tier, probe, direction });
  // API, spec.tier: Accept and Deny of the Admin tier are final; Pass, or no match, leads to NetworkPolicies.
  const admin = decide("Admin");
  if (admin !== undefined && admin.action !== "Pass") return decided(cluster, subject, admin);
  // docs/cluster-policy.md: beside rules of cluster policies, audited NetworkPolicies are not evaluated.
  const leftOut = !isOpened(cluster, subject) && hasTierRules(cluster, subject, direction);
  const applying = enforced.length > 0 || leftOut ? enforced : selecting;
  if (applying.length === 0) {
    // API, spec.tier: NetworkPolicies decide for the pods that they select; the Baseline tier for all others.
    const baseline = decide("Baseline");
    return baseline === undefined || baseline.action === "Pass"
      ? { kind: "not-isolated" }
      : decided(cluster, subject, baseline);
  }
  // API, spec.podSelector: the rules of all policies that select a pod add up, so their order decides nothing.
  const by = applying.flatMap((policy) => allowances(cluster, policy, direction, probe));
  if (by.length > 0) return { kind: "allowed", by };
  return {
    kind: enforced.length > 0 ? "denied" : "audit",
    isolatedBy: applying.map((policy) => ({ policy: keyOf(policy), unreadable: policy.unreadable })),
  };
}

/** The verdict of a final rule. Cluster policies only report where nothing is dropped at the pod at all. */
function decided(cluster: Cluster, subject: Pod, by: TierDecision): SideVerdict {
  if (by.action === "Accept") return { kind: "accepted", by };
  return { kind: isOpened(cluster, subject) ? "audit" : "denied", isolatedBy: [], by };
}

/**
 * Concepts, the two sorts of pod isolation: a policy applies to a pod in the directions among its policyTypes, if it
 * selects the pod. Rules of another direction thus neither isolate nor allow.
 * API, spec.podSelector: it selects among the pods of the policy's own namespace.
 */
function applies(policy: Policy, pod: Pod, direction: Direction): boolean {
  return (
    policy.isolates[direction] && policy.namespace === pod.namespace && matches(policy.subject, pod.labels)
  );
}

/** API, spec.ingress and spec.egress: one rule of one policy that matches the traffic is enough to allow it. */
function allowances(cluster: Cluster, policy: Policy, direction: Direction, probe: Probe): Allowance[] {
  // It is unknown what a policy that cannot be read in full would allow, so it isolates and allows nothing.
  if (policy.unreadable !== undefined) return [];
  const other = direction === "ingress" ? probe.from : probe.to;
  return policy.rules[direction].flatMap((rule, index) =>
    // API, NetworkPolicyIngressRule and NetworkPolicyEgressRule: the traffic must match both the peers and the ports.
    matchingPeers(cluster, policy, rule, other).flatMap((peer) =>
      matchingPorts(rule, probe, direction).map((port) => ({
        policy: keyOf(policy),
        rule: index,
        peer,
        port,
      })),
    ),
  );
}

/**
 * Indices of the peers that match, or one undefined. API, from and to: one matching item is enough; if the list is
 * empty or missing, the rule is not restricted by source (destination) at all, so it includes addresses outside.
 */
function matchingPeers(cluster: Cluster, policy: Policy, rule: Rule, other: Party): (number | undefined)[] {
  if (rule.peers === "anyone") return [undefined];
  return indicesWhere(rule.peers, (peer) => peerMatches(cluster, policy, peer, other));
}

function peerMatches(cluster: Cluster, policy: Policy, peer: Peer, other: Party): boolean {
  switch (peer.kind) {
    case "pods": {
      const pod = selectablePod(other);
      if (pod === undefined) return false;
      // API, NetworkPolicyPeer.podSelector: with a namespaceSelector, the matching pods of the matching namespaces;
      // without one, the matching pods of the policy's own namespace.
      const inNamespace =
        peer.namespaces === undefined
          ? pod.namespace === policy.namespace
          : matches(peer.namespaces, namespaceLabels(cluster, pod.namespace));
      return inNamespace && matches(peer.pods, pod.labels);
    }
    case "block": {
      // API, IPBlock: except says what is not included in this one block, so it takes nothing from other peers. The
      // text does not distinguish between the addresses of pods and others.
      // docs/limits.md: a link-local address may be that of a pod or node that the exceptions mean, unless the block is about these addresses alone.
      const isUnsure =
        peer.except.length > 0 &&
        [LINK_LOCAL_V6, UNSPECIFIED_V4].some(
          (cidr) => cidrContains(cidr, other.address) && !cidrCovers(cidr, peer.cidr),
        );
      const excepted = isUnsure || peer.except.some((cidr) => cidrContains(cidr, other.address));
      return cidrContains(peer.cidr, other.address) && !excepted;
    }
    case "nothing":
      return false;
    default:
      return assertNever(peer, "kind of peer");
  }
}

/** Indices of the ports that match, or one undefined. API, ports: empty or missing is not restricted by port. */
function matchingPorts(rule: Rule, probe: Probe, direction: Direction): (number | undefined)[] {
  if (rule.ports === "all") return [undefined];
  return indicesWhere(rule.ports, (port) => portMatches(port, probe, direction));
}

/** A pod whose object is gone is not the later pod with the same name. */
const isSame = (a: Pod, b: Pod): boolean =>
  keyOf(a) === keyOf(b) && (a.retained === undefined) === (b.retained === undefined);

const indicesWhere = <T>(items: readonly T[], holds: (item: T) => boolean): number[] =>
  items.flatMap((item, index) => (holds(item) ? [index] : []));
