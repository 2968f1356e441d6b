// Short notations for the model in tests.
import { type Address, type Cidr, parseAddress, parseCidr } from "../../src/base/ip.ts";
import {
  type Cluster,
  type ContainerPort,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type Pod,
} from "../../src/model/cluster.ts";
import type {
  Action,
  ClusterPeer,
  ClusterPolicy,
  ClusterRule,
  Tier,
} from "../../src/model/cluster-network-policy.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../src/model/network-policy.ts";
import { EVERYTHING, type Requirement, type Selector } from "../../src/model/selector.ts";
import type { EndpointSlice, Service } from "../../src/model/service.ts";
import type { Party } from "../../src/policy/oracle.ts";

type LabelMap = Readonly<Record<string, string>>;

/** @throws Error if the text is not a valid address */
export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.reason}`);
  return parsed.value;
}

/** @throws Error if the text is not a valid prefix */
export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.reason}`);
  return parsed.value;
}

export const selector = (labels: LabelMap, ...more: readonly Requirement[]): Selector => ({
  requirements: [
    ...Object.entries(labels).map(([key, value]) => ({ operator: "In", key, values: [value] }) as const),
    ...more,
  ],
});

export const namespace = (name: string, labels: LabelMap = {}): Namespace => ({
  name,
  labels: new Map([...Object.entries(labels), [NAMESPACE_NAME_LABEL, name]]),
});

export interface PodFacts {
  readonly labels?: LabelMap;
  readonly ports?: readonly ContainerPort[];
  readonly hostNetwork?: boolean;
  readonly finished?: boolean;
  readonly sources?: readonly string[];
}

/** A pod by `namespace/name` and its addresses. */
export function pod(key: string, ips: readonly string[], facts: PodFacts = {}): Pod {
  return {
    ...split(key),
    ips: ips.map(address),
    labels: new Map(Object.entries(facts.labels ?? {})),
    ports: facts.ports ?? [],
    hostNetwork: facts.hostNetwork ?? false,
    finished: facts.finished ?? false,
    ...(facts.sources && { sources: facts.sources.map(cidr) }),
  };
}

export interface PolicyFacts {
  /** Every pod of the namespace by default. */
  readonly subject?: Selector;
  /** By default the directions that have rules, and ingress. */
  readonly isolates?: Policy["isolates"];
  readonly ingress?: readonly Rule[];
  readonly egress?: readonly Rule[];
  readonly unreadable?: string;
}

/** A policy by `namespace/name`. */
export function policy(key: string, facts: PolicyFacts = {}): Policy {
  return {
    ...split(key),
    subject: facts.subject ?? EVERYTHING,
    isolates: facts.isolates ?? { ingress: true, egress: facts.egress !== undefined },
    rules: { ingress: facts.ingress ?? [], egress: facts.egress ?? [] },
    ...(facts.unreadable === undefined ? {} : { unreadable: facts.unreadable }),
  };
}

/** Pods, by their labels, of the policy's own namespace or of those that `namespaces` selects. */
export const pods = (labels: LabelMap, namespaces?: Selector): Peer => ({
  kind: "pods",
  namespaces,
  pods: selector(labels),
});

export const block = (text: string, ...except: readonly string[]): Peer => ({
  kind: "block",
  cidr: cidr(text),
  except: except.map(cidr),
});

/** Ports such as "TCP/80", "TCP/8000-8010", "UDP" (all) or "TCP/http". */
export function ports(...texts: readonly string[]): readonly PortMatch[] {
  return texts.map((text) => {
    const [, protocol, first, last, name] =
      /^(TCP|UDP|SCTP)(?:\/(?:(\d+)(?:-(\d+))?|([a-z][a-z0-9-]*)))?$/.exec(text) ?? [];
    if (protocol !== "TCP" && protocol !== "UDP" && protocol !== "SCTP") throw new Error(`no port: ${text}`);
    if (name !== undefined) return { kind: "name", protocol, name };
    return { kind: "range", protocol, first: Number(first ?? 0), last: Number(last ?? first ?? 65_535) };
  });
}

export interface ClusterFacts {
  readonly namespaces?: readonly Namespace[];
  readonly pods?: readonly Pod[];
  readonly policies?: readonly Policy[];
  readonly clusterPolicies?: readonly ClusterPolicy[];
  readonly services?: readonly Service[];
  readonly slices?: readonly EndpointSlice[];
}

export const cluster = (facts: ClusterFacts): Cluster => ({
  namespaces: new Map((facts.namespaces ?? []).map((each) => [each.name, each])),
  pods: new Map((facts.pods ?? []).map((each) => [keyOf(each), each])),
  policies: new Map((facts.policies ?? []).map((each) => [keyOf(each), each])),
  ...(facts.clusterPolicies && {
    clusterPolicies: new Map(facts.clusterPolicies.map((each) => [each.name, each])),
  }),
  services: new Map((facts.services ?? []).map((each) => [keyOf(each), each])),
  slices: new Map((facts.slices ?? []).map((each) => [keyOf(each), each])),
});

export interface ClusterPolicyFacts {
  readonly tier?: Tier;
  readonly priority?: number;
  /** Every pod by default. */
  readonly subject?: ClusterPolicy["subject"];
  readonly ingress?: readonly ClusterRule[];
  readonly egress?: readonly ClusterRule[];
}

/** Of the Admin tier by default. */
export const clusterPolicy = (name: string, facts: ClusterPolicyFacts = {}): ClusterPolicy => ({
  name,
  tier: facts.tier ?? "Admin",
  priority: facts.priority ?? 10,
  subject: facts.subject ?? { namespaces: EVERYTHING, pods: EVERYTHING },
  rules: { ingress: facts.ingress ?? [], egress: facts.egress ?? [] },
});

/** A rule for all ports by default. */
export const clusterRule = (
  action: Action,
  peers: readonly Peer[],
  only: ClusterRule["ports"] = "all",
): ClusterRule => ({
  action,
  peers: peers.flatMap((peer): ClusterPeer[] => {
    if (peer.kind === "block") return [peer];
    return peer.kind === "pods" ? [{ ...peer, namespaces: peer.namespaces ?? EVERYTHING }] : [];
  }),
  ports: only,
});

/** A rule of egress that accepts what these domain names are. */
export const domainRule = (names: readonly string[], only: ClusterRule["ports"] = "all"): ClusterRule => ({
  action: "Accept",
  peers: names.map((name): ClusterPeer => ({ kind: "domain", name })),
  ports: only,
});

/** A pod by its first address of the family, IPv4 by default. */
export function party(from: Pod, family: 4 | 6 = 4): Party {
  const own = from.ips.find((each) => each.family === family);
  if (own === undefined) throw new Error(`${keyOf(from)} has no address of family ${family}`);
  return { kind: "pod", pod: from, address: own };
}

/** An address that belongs to no pod. */
export const outside = (text: string): Party => ({ kind: "address", address: address(text) });

function split(key: string): { readonly namespace: string; readonly name: string } {
  const [namespace, name] = key.split("/");
  if (namespace === undefined || name === undefined) throw new Error(`no namespace/name: ${key}`);
  return { namespace, name };
}
