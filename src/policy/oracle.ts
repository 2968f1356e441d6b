// The oracle: whether policies allow a new connection, and why, from the text of the NetworkPolicy v1 API alone.
//
// "API" in the comments is the field documentation of networking.k8s.io/v1 NetworkPolicy (k8s.io/api, types.go);
// "Concepts" is kubernetes.io/docs/concepts/services-networking/network-policies. The oracle shares no code with the
// compiler for the kernel, and is slow: it evaluates every policy for every connection, in the order of
// the text, so that it can be checked by reading the two side by side.

import { assert, assertNever } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import { type Address, cidrContains } from "../base/ip.ts";
import {
  type Cluster,
  isSelectable,
  isSubject,
  keyOf,
  namespaceLabels,
  type Pod,
  type Protocol,
} from "../model/cluster.ts";
import { isOpened, modeOn } from "../model/enforcement-mode.ts";
import type { Peer, Policy, PortMatch, Rule } from "../model/network-policy.ts";
import { matches } from "../model/selector.ts";

/** One end of a connection: a pod by one of its addresses, or an address that no pod has. */
export type Party =
  | {
      readonly kind: "pod";
      readonly pod: Pod;
      readonly address: Address;
      /** Other pods that may be at this end, if the pod is ambiguous. */
      readonly rivals?: readonly Pod[];
    }
  | { readonly kind: "address"; readonly address: Address };

/** A new connection (for UDP, SCTP and the rest: a first packet). Both addresses are of one family. */
export interface Probe {
  readonly from: Party;
  readonly to: Party;
  /** "ICMP" is every protocol that policies cannot name; only a rule without ports allows those. */
  readonly protocol: Protocol | "ICMP";
  /** Destination port, 0 to 65535; ignored if the protocol is "ICMP". */
  readonly port: number;
}

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
  /** Would be denied, but none of these policies is enforced: it passes, and is reported. */
  | { readonly kind: "audit"; readonly isolatedBy: readonly Isolation[] }
  | { readonly kind: "denied"; readonly isolatedBy: readonly Isolation[] };

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
  strictest(probe, (certain) => certainVerdict(cluster, certain, direction));

/**
 * If the pod at an end is ambiguous, the connection is allowed only if it is allowed for each of the
 * possible pods. The verdict is the strictest one.
 */
function strictest(probe: Probe, judge: (certain: Probe) => SideVerdict): SideVerdict {
  const verdicts = possibilities(probe.from).flatMap((from) =>
    possibilities(probe.to).map((to) => judge({ ...probe, from, to })),
  );
  const [worst] = verdicts.sort((a, b) => STRICTNESS.indexOf(a.kind) - STRICTNESS.indexOf(b.kind));
  return worst as SideVerdict;
}

const STRICTNESS: readonly SideVerdict["kind"][] = [
  "denied",
  "audit",
  "allowed",
  "not-isolated",
  "loopback",
  "not-applicable",
];

const possibilities = (party: Party): readonly Party[] =>
  party.kind === "address"
    ? [party]
    : [party.pod, ...(party.rivals ?? [])].map((pod) => ({ kind: "pod", pod, address: party.address }));

/** The verdict for one pod at each end. */
function certainVerdict(cluster: Cluster, probe: Probe, direction: Direction): SideVerdict {
  const subject = subjectOf(direction === "ingress" ? probe.to : probe.from);
  if (subject === undefined) return { kind: "not-applicable" };
  const { retained } = subject;
  const closed: SideVerdict = { kind: isOpened(cluster, subject) ? "audit" : "denied", isolatedBy: [] };
  // A pod whose namespace is gone, or whose labels are unknown, is allowed nothing.
  if (retained?.sealed === true) return closed;
  const selecting = [...cluster.policies.values()].filter((policy) => applies(policy, subject, direction));
  // docs/audit.md: audited policies are evaluated only if no enforced one applies; then nothing is dropped.
  const enforced = selecting.filter((policy) => modeOn(cluster, policy, subject) === "enforce");
  // The same: one without a running object is never less isolated than it last was.
  if (retained?.isolated[direction] === true && enforced.length === 0) return closed;
  const applying = enforced.length > 0 ? enforced : selecting;
  if (applying.length === 0) return { kind: "not-isolated" };
  // API, spec.podSelector: the rules of all policies that select a pod add up, so their order decides nothing.
  const by = applying.flatMap((policy) => allowances(cluster, policy, direction, probe));
  if (by.length > 0) return { kind: "allowed", by };
  return {
    kind: enforced.length > 0 ? "denied" : "audit",
    isolatedBy: applying.map((policy) => ({ policy: keyOf(policy), unreadable: policy.unreadable })),
  };
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
      const excepted = peer.except.some((cidr) => cidrContains(cidr, other.address));
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

function portMatches(match: PortMatch, probe: Probe, direction: Direction): boolean {
  // API, NetworkPolicyPort.port: protocol and port must both match.
  if (match.kind === "nothing" || match.protocol !== probe.protocol) return false;
  switch (match.kind) {
    case "range":
      return match.first <= probe.port && probe.port <= match.last;
    case "name": {
      // API, NetworkPolicyPort.port: a name is that of a port on a pod; ports are destination ports in both directions,
      // so it is the destination pod. An address without a pod has no port names; a name that the pod does not declare
      // for this protocol matches nothing. Two containers may give one name to two ports: then it means either.
      const ports = (direction === "ingress" ? subjectOf(probe.to) : selectablePod(probe.to))?.ports ?? [];
      return ports.some(
        ({ name, protocol, port }) =>
          name === match.name && protocol === match.protocol && port === probe.port,
      );
    }
    default:
      return assertNever(match, "kind of port");
  }
}

/** The pod at this end if a peer's selectors can select it: not a host-network pod, nor a finished one. */
const selectablePod = (party: Party): Pod | undefined =>
  party.kind === "pod" && isSelectable(party.pod) ? party.pod : undefined;

/** The pod at this end if it can be isolated, even if its object is gone. */
const subjectOf = (party: Party): Pod | undefined =>
  party.kind === "pod" && isSubject(party.pod) ? party.pod : undefined;

/** A pod whose object is gone is not the later pod with the same name. */
const isSame = (a: Pod, b: Pod): boolean =>
  keyOf(a) === keyOf(b) && (a.retained === undefined) === (b.retained === undefined);

const indicesWhere = <T>(items: readonly T[], holds: (item: T) => boolean): number[] =>
  items.flatMap((item, index) => (holds(item) ? [index] : []));
