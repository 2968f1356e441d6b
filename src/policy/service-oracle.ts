// The oracle for Services: whether a pod's packets to a frontend may leave it, evaluated for each backend by the API's own rules.
//
// The API does not define what a policy means for a Service: whether addresses are rewritten before or after policies
// apply depends on the implementation. docs/services.md defines it for Weir, and this file follows it sentence by sentence.
// It shares with the compiler only the list of backends.

import type { Address } from "../base/ip.ts";
import { holdersOf } from "../model/address-ownership.ts";
import { type Cluster, keyOf, type Pod } from "../model/cluster.ts";
import { TIERS } from "../model/cluster-network-policy.ts";
import { type Backend, backendsOf, type Frontend } from "../model/frontends.ts";
import { deniesEveryone, hasTierRules } from "./cluster-policy-oracle.ts";
import { type Party, type Probe, permits, policyVerdict, type SideVerdict, sideVerdict } from "./oracle.ts";
import { isAuditedFor, policiesOn } from "./subjects.ts";

export interface ServiceProbe {
  readonly from: Party;
  /** An address of the same family as `from`'s. */
  readonly frontend: Frontend;
  /** The domain names that the client has resolved to the frontend's address. */
  readonly names?: readonly string[];
}

/** The verdict of the pod's own policies on one backend. */
export interface BackendVerdict {
  readonly backend: Backend;
  readonly verdict: SideVerdict;
  /** Whether the backend's own end drops what this pod must not send there. */
  readonly guarded: boolean;
}

export interface ServiceVerdict {
  /** Whether packets to the frontend may leave the pod. The backend's ingress and its guard still judge each. */
  readonly leaves: boolean;
  readonly backends: readonly BackendVerdict[];
  /** On the frontend's address as if no Service had it, where that counts too: see docs/services.md, external addresses. */
  readonly itself?: SideVerdict;
}

/** `isEndpoint`: whether the pod is an endpoint of the client's node. */
export function serviceVerdict(
  cluster: Cluster,
  { from, frontend, names = [] }: ServiceProbe,
  isEndpoint: (pod: Pod) => boolean,
): ServiceVerdict {
  // docs/services.md, what does not fit: only a pod to which nothing may be denied reaches it.
  if (frontend.refused === true) return { leaves: reachesAll(cluster, from), backends: [] };
  const backends = backendVerdicts(cluster, { from, frontend }, isEndpoint);
  const itself = verdictOnItself(cluster, { from, frontend });
  const plain = {
    leaves: leaves(cluster, from, backends) && permitsItself(itself),
    backends,
    ...(itself && { itself }),
  };
  if (plain.leaves) return plain;
  // docs/cluster-policy.md, domain names: a name that lets packets to all backends pass is enough.
  for (const name of names) {
    const named = backendVerdicts(cluster, { from, frontend, name }, isEndpoint);
    const isAllowed =
      named.length === 0
        ? permitsEverywhere(cluster, { from, to: { kind: "address", address: frontend.address }, name })
        : named.every(({ verdict }) => permits(verdict));
    const itselfNamed = verdictOnItself(cluster, { from, frontend, name });
    if (isAllowed && permitsItself(itselfNamed))
      return { leaves: true, backends: named, ...(itselfNamed && { itself: itselfNamed }) };
  }
  return plain;
}

/** As a name, if there is one, or without names. */
function backendVerdicts(
  cluster: Cluster,
  { from, frontend, name }: Omit<ServiceProbe, "names"> & { readonly name?: string },
  isEndpoint: (pod: Pod) => boolean,
): readonly BackendVerdict[] {
  return backendsOf(frontend).map((backend): BackendVerdict => {
    const to = partyAt(cluster, backend.address);
    return {
      backend,
      verdict: verdictAt(cluster, { from, to, protocol: frontend.protocol, port: backend.port }, name),
      guarded: frontend.keepsSource && isGuard(cluster, to, isEndpoint),
    };
  });
}

function verdictOnItself(
  cluster: Cluster,
  { from, frontend, name }: Omit<ServiceProbe, "names"> & { readonly name?: string },
): SideVerdict | undefined {
  if (!frontend.judgedAsItself) return undefined;
  const { address, protocol, port } = frontend;
  return verdictAt(cluster, { from, to: partyAt(cluster, address), protocol, port }, name);
}

const permitsItself = (itself: SideVerdict | undefined): boolean => itself === undefined || permits(itself);

function verdictAt(cluster: Cluster, unnamed: Probe, name: string | undefined): SideVerdict {
  const probe = name === undefined ? unnamed : { ...unnamed, name };
  return isItself(probe.from, probe.to)
    ? sideVerdict(cluster, probe, "egress")
    : policyVerdict(cluster, probe, "egress");
}

/** Whether the rules for everyone, those that have the name among them, allow everything. */
function permitsEverywhere(
  cluster: Cluster,
  { from, to, name }: Pick<Probe, "from" | "to"> & { readonly name: string },
): boolean {
  const policies = [...cluster.policies].map(([key, policy]) => {
    const egress = policy.rules.egress.filter(({ peers, ports }) => peers === "anyone" && ports === "all");
    return [key, { ...policy, rules: { ...policy.rules, egress } }] as const;
  });
  const clusterPolicies = [...(cluster.clusterPolicies ?? [])].map(([key, policy]) => {
    const egress = policy.rules.egress.map((rule) =>
      rule.peers === "anyone" ? rule : { ...rule, peers: rule.peers.filter(({ kind }) => kind === "domain") },
    );
    return [key, { ...policy, rules: { ...policy.rules, egress } }] as const;
  });
  const forAll = { ...cluster, policies: new Map(policies), clusterPolicies: new Map(clusterPolicies) };
  return permits(policyVerdict(forAll, { from, to, name, protocol: "ICMP", port: 0 }, "egress"));
}

/** Whether both are known to be one pod, which cannot block itself. */
export const isItself = (from: Party, to: Party): boolean =>
  from.kind === "pod" &&
  to.kind === "pod" &&
  [from.rivals, to.rivals, from.pod.retained, to.pod.retained].every((each) => each === undefined) &&
  keyOf(from.pod) === keyOf(to.pod);

/** Whether nothing may be denied to this end, or it is only reported. */
function reachesAll(cluster: Cluster, from: Party): boolean {
  if (from.kind === "pod" && isAuditedFor(cluster, from.pod, "egress")) return true;
  const { clusterPolicies, ...alone } = cluster;
  return !isTieredFor(cluster, from) && isUnrestricted(alone, from);
}

/** The pods of an end that cluster policies may have as subjects. */
const tieredPods = ({ clusterPolicies }: Cluster, from: Party): readonly Pod[] =>
  clusterPolicies === undefined || from.kind === "address" ? [] : [from.pod, ...(from.rivals ?? [])];

const isTieredFor = (cluster: Cluster, from: Party): boolean =>
  tieredPods(cluster, from).some((pod) => hasTierRules(cluster, pod, "egress"));

function leaves(cluster: Cluster, from: Party, backends: readonly BackendVerdict[]): boolean {
  if (from.kind === "pod" && isAuditedFor(cluster, from.pod, "egress")) return true;
  const { clusterPolicies, ...alone } = cluster;
  const pods = tieredPods(cluster, from);
  const isTiered = isTieredFor(cluster, from);
  if ((!isTiered || backends.length === 0) && isUnrestricted(alone, from))
    return !pods.some((pod) => {
      const tiers = isIsolatedAlone(alone, pod) ? (["Admin"] as const) : TIERS;
      return deniesEveryone(cluster, pod, { direction: "egress", tiers });
    });
  const denied = backends.filter(({ verdict }) => !permits(verdict));
  if (denied.length === 0 || denied.length === backends.length) return backends.length > denied.length;
  return isKnown(from) && denied.every(({ guarded }) => guarded);
}

/** Whether a NetworkPolicy isolates the pod for egress: then the Baseline tier does not apply. */
const isIsolatedAlone = (alone: Cluster, pod: Pod): boolean =>
  policiesOn(alone, pod, "egress").length > 0 && !isAuditedFor(alone, pod, "egress");

/** Whether a backend's end can recognize this pod: it sends only from its own addresses. */
const isKnown = (from: Party): boolean =>
  from.kind === "pod" && from.rivals === undefined && (from.pod.sources ?? []).length === 0;

/**
 * Whether NetworkPolicies can deny nothing to this end: it is not isolated for egress, or only by audited policies, or a rule allows
 * all peers on all ports.
 */
function isUnrestricted(cluster: Cluster, from: Party): boolean {
  if (from.kind === "pod" && isAuditedFor(cluster, from.pod, "egress")) return true;
  const probe = { from, to: from, protocol: "ICMP", port: 0 } as const;
  const verdict = policyVerdict(cluster, probe, "egress");
  if (verdict.kind !== "allowed") return verdict.kind !== "denied";
  return verdict.by.some(({ policy, rule }) => {
    const { peers, ports } = cluster.policies.get(policy)?.rules.egress[rule] ?? {};
    return peers === "anyone" && ports === "all";
  });
}

/** Whether both ends allow a connection to this backend. */
export function reaches(
  cluster: Cluster,
  probe: ServiceProbe,
  backend: Backend,
  isEndpoint: (pod: Pod) => boolean,
): boolean {
  const { leaves: left, backends } = serviceVerdict(cluster, probe, isEndpoint);
  const own = backends.find(
    (each) => each.backend.address.text === backend.address.text && each.backend.port === backend.port,
  );
  if (!left || own === undefined || !permits(own.verdict)) return false;
  const to = partyAt(cluster, backend.address);
  const { protocol } = probe.frontend;
  return permits(sideVerdict(cluster, { from: probe.from, to, protocol, port: backend.port }, "ingress"));
}

/** The owner of an address: a pod or none; if ambiguous, all pods that may have it. */
export function partyAt(cluster: Cluster, address: Address): Party {
  const [pod, ...rivals] = holdersOf(cluster).get(address.text)?.pods ?? [];
  if (pod === undefined) return { kind: "address", address };
  return rivals.length === 0 ? { kind: "pod", pod, address } : { kind: "pod", pod, address, rivals };
}

/** A pod at one of its addresses, as other pods identify it there. */
export function partyOf(cluster: Cluster, pod: Pod, address: Address): Party {
  const pods: readonly Pod[] = holdersOf(cluster).get(address.text)?.pods ?? [];
  const rivals = pods.includes(pod) ? pods.filter((each) => each !== pod) : [];
  return rivals.length === 0 ? { kind: "pod", pod, address } : { kind: "pod", pod, address, rivals };
}

/** An endpoint of the client's node, by its only address of the family; not one that drops nothing. */
function isGuard(cluster: Cluster, to: Party, isEndpoint: (pod: Pod) => boolean): boolean {
  if (to.kind !== "pod" || isAuditedFor(cluster, to.pod, "ingress")) return false;
  const { family } = to.address;
  const isAlone = to.pod.ips.filter((address) => address.family === family).length === 1;
  return isEndpoint(to.pod) && isAlone && to.rivals === undefined;
}
