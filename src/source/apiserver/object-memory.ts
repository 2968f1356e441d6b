// The agent's memory for the objects that tenants write, shared by namespaces, each kind by itself: what objects count, and the reduced
// form in which those beyond their namespace's share are kept. Shares: memory-accounts.ts.
//
// What counts are estimates by what an object names: the same on every node, whatever is shared with other objects.

import { getHeapStatistics } from "node:v8";
import type { Pod } from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { Peer, Policy } from "../../model/network-policy.ts";
import { EVERYTHING, type Labels, type Selector } from "../../model/selector.ts";
import {
  addressesOfService,
  type EndpointSlice,
  hashesOfService,
  type Service,
} from "../../model/service.ts";
import { labelsBytes, ORDINARY_PARTS, textBytes } from "./label-memory.ts";
import type { Kind, Value, Values } from "./resource-kinds.ts";

/** The kinds that tenants write. Namespaces, Nodes and cluster policies are the administrator's. */
export const LIMITED_KINDS = ["NetworkPolicy", "Pod", "Service", "EndpointSlice"] as const;
export type LimitedKind = (typeof LIMITED_KINDS)[number];

export const isLimited = (kind: Kind): kind is LimitedKind =>
  (LIMITED_KINDS as readonly Kind[]).includes(kind);

/** How the objects of one kind share memory. */
export interface Memory<V = Value> {
  readonly kind: LimitedKind;
  /** "policies", as in the limit "memory of policies". */
  readonly plural: string;
  /** The part of V8's limit of the heap for all of them. */
  readonly part: number;
  /** What counts no more is never reduced: that would save next to nothing. */
  readonly ordinary: number;
  /** The memory that a whole object takes, in bytes; `ordinary` at least. */
  weightOf(value: V): number;
  reduced(value: V): V;
  /** What Weir does about a reduced one. */
  readonly effect: string;
  readonly fix: string;
}

/**
 * Bytes of the heap for each part of an object: as measured at the highest point, while an update that has it is compiled and the state
 * before is still there, with room. docs/limits.md has the figures.
 */
const BYTES = {
  policy: 4_096,
  rule: 2_048,
  prefix: 3_072,
  selector: 2_048,
  value: 384,
  port: 640,
  pod: 512,
  containerPort: 256,
  source: 512,
  service: 1_024,
  servicePort: 384,
  address: 384,
  slice: 1_024,
  endpoint: 384,
  slicePort: 256,
} as const;

/** A selector of pods with more values than this counts as one of every pod, where the policy is kept without its rules. */
const SUBJECT_BYTES_MAX = 64 << 10;

/** The addresses and ports of a Service count where together they take more than this. */
const SERVICE_PARTS = 2_048;

/** What V8's limit of the heap leaves for the objects of a kind, in bytes. */
export const memoryFor = (kind: LimitedKind, limit = getHeapStatistics().heap_size_limit): number =>
  Math.floor(limit * MEMORY[kind].part);

export const isReduced = (value: Value | undefined): boolean =>
  value !== undefined && "exceeds" in value && value.exceeds !== undefined;

export const megabytes = (bytes: number): string => `${(bytes / (1 << 20)).toFixed(1)} MiB`;

const sum = <T>(items: readonly T[], bytesOf: (item: T) => number): number =>
  items.reduce((bytes, item) => bytes + bytesOf(item), 0);

// Policies.

const selectorBytes = ({ requirements }: Selector): number =>
  sum(requirements, (each) => BYTES.value * (1 + ("values" in each ? each.values.length : 0)));

type AnyPeer = Peer | ClusterPolicy["rules"]["ingress"][number]["peers"][number];

function peerBytes(peer: Exclude<AnyPeer, string>): number {
  switch (peer.kind) {
    case "block":
      return BYTES.prefix * (1 + peer.except.length);
    case "pods":
      return (
        BYTES.selector + selectorBytes(peer.pods) + (peer.namespaces ? selectorBytes(peer.namespaces) : 0)
      );
    case "nodes":
      return BYTES.selector + selectorBytes(peer.nodes);
    default:
      return BYTES.selector;
  }
}

/** The memory that a policy takes, in bytes. */
export function policyWeight(policy: Policy | ClusterPolicy): number {
  const { subject, rules } = policy;
  const selectors = "requirements" in subject ? [subject] : [subject.namespaces, subject.pods];
  let bytes = BYTES.policy + sum(selectors, selectorBytes);
  for (const { peers, ports } of [...rules.ingress, ...rules.egress]) {
    bytes += BYTES.rule;
    if (ports !== "all") bytes += BYTES.port * ports.length;
    if (peers !== "anyone") for (const peer of peers) bytes += peerBytes(peer);
  }
  return bytes;
}

/** A policy that isolates its pods, and allows nothing. */
function withoutRules(policy: Policy): Policy {
  if (policy.exceeds === true) return policy;
  const { namespace, name, isolates, mode } = policy;
  const isWide = selectorBytes(policy.subject) > SUBJECT_BYTES_MAX;
  return {
    ...{ namespace, name, isolates },
    subject: isWide ? EVERYTHING : policy.subject,
    rules: { ingress: [], egress: [] },
    unreadable: `takes ${megabytes(policyWeight(policy))} of memory, beyond its namespace's share`,
    exceeds: true,
    ...(mode && { mode }),
  };
}

// Pods.

function podWeight({ labels, ports, sources = [] }: Pod): number {
  const parts = labelsBytes(labels) + BYTES.containerPort * ports.length + BYTES.source * sources.length;
  return BYTES.pod + (parts > ORDINARY_PARTS ? parts : 0);
}

function withoutLabels({ labels: _, ports: __, sources: ___, macs: ____, ...pod }: Pod): Pod {
  return { ...pod, labels: NO_LABELS, ports: NO_PORTS, exceeds: true };
}

const NO_LABELS: Labels = new Map();
const NO_PORTS: Pod["ports"] = [];

// Services and their slices.

function serviceWeight(service: Service): number {
  const { ports, selector } = service;
  const parts =
    BYTES.address * addressesOfService(service).length +
    sum(ports, ({ name }) => BYTES.servicePort + textBytes(name)) +
    (selector === undefined ? 0 : labelsBytes(selector));
  return BYTES.service + (parts > SERVICE_PARTS ? parts : 0);
}

function withoutPorts(service: Service): Service {
  if (service.exceeds !== undefined) return service;
  const hashes = Uint32Array.from(hashesOfService(service));
  return {
    ...service,
    ...{ externalIps: [], loadBalancerIps: [], ports: [], selector: undefined },
    exceeds: { hashes },
  };
}

const sliceWeight = ({ ports, endpoints }: EndpointSlice): number =>
  BYTES.slice + BYTES.slicePort * ports.length + BYTES.endpoint * endpoints.length;

const withoutEndpoints = (slice: EndpointSlice): EndpointSlice => ({
  ...slice,
  ports: [],
  endpoints: [],
  exceeds: true,
});

// The kinds.

export const MEMORY: { readonly [kind in LimitedKind]: Memory<Values[kind]> } = {
  NetworkPolicy: {
    kind: "NetworkPolicy",
    plural: "policies",
    part: 0.5,
    ordinary: 0,
    weightOf: policyWeight,
    reduced: withoutRules,
    effect: "the policy isolates its pods and allows nothing",
    fix: "name fewer prefixes, ports or labels",
  },
  Pod: {
    kind: "Pod",
    plural: "pods",
    part: 0.2,
    ordinary: BYTES.pod,
    weightOf: podWeight,
    reduced: withoutLabels,
    effect: "nothing is allowed to or from the pod, and no rule that allows pods by labels has it",
    fix: "give the pod fewer labels and ports",
  },
  Service: {
    kind: "Service",
    plural: "Services",
    part: 0.1,
    ordinary: BYTES.service,
    weightOf: serviceWeight,
    reduced: withoutPorts,
    effect: "pods that are isolated for egress do not reach the Service's addresses",
    fix: "give the Service fewer ports and addresses",
  },
  EndpointSlice: {
    kind: "EndpointSlice",
    plural: "slices",
    part: 0.2,
    ordinary: BYTES.slice,
    weightOf: sliceWeight,
    reduced: withoutEndpoints,
    effect: "pods that are isolated for egress do not reach the slice's Service",
    fix: "give the Service fewer endpoints and ports",
  },
};
