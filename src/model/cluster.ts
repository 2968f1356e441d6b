// The part of a cluster that decides which connections are allowed: namespaces, pods, and the node's view of them; and its
// JSON form, for commands that request the agent's cluster and evaluate it themselves.

import type { Direction } from "../base/direction.ts";
import type { Address, Cidr } from "../base/ip.ts";
import { isMapping } from "../base/versioned-map.ts";
import type { ClusterPolicy } from "./cluster-network-policy.ts";
import type { Policy } from "./network-policy.ts";
import type { Protocol } from "./protocol.ts";
import type { Labels } from "./selector.ts";
import type { EndpointSlice, Service } from "./service.ts";

export type { Protocol } from "./protocol.ts";

/** The label that the API server sets on every namespace to the namespace's own name. */
export const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

export interface Namespace {
  readonly name: string;
  /** metadata.uid: distinguishes a namespace from a later one of the same name. */
  readonly uid?: string;
  /** Always holds NAMESPACE_NAME_LABEL. */
  readonly labels: Labels;
}

export interface ContainerPort {
  readonly name?: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** A node of the cluster, for the addresses that are its own and its pods'. */
export interface ClusterNode {
  readonly name: string;
  readonly labels: Labels;
  /** status.addresses, of those that are addresses. */
  readonly addresses: readonly Address[];
  /** spec.podCIDRs, where the cluster's controller gives each node a part of the pods' addresses. */
  readonly podCidrs: readonly Cidr[];
}

/**
 * A pod whose object no longer shows it as running, while its interface lives. The live policies apply to it with its
 * last labels, and it is never less isolated than it last was. No selector of a peer matches it.
 */
export interface Retained {
  /** The directions in which it was isolated when its object last showed it as running, or has been since. */
  readonly isolated: { readonly [direction in Direction]: boolean };
  /** Nothing is allowed: its namespace no longer exists, or its labels are not known. */
  readonly sealed?: true;
  /** ISO 8601. */
  readonly since: string;
  /** As in "its object was deleted". */
  readonly why: string;
}

/** Which interface is the pod's, by its annotation `weir.dev/interface` or `weir.dev/netns`. */
export type Attachment =
  /** The name of the host-side link. */
  | { readonly kind: "link"; readonly name: string }
  /** The name of a network namespace (`ip netns`), whose veth peer is the host-side link. */
  | { readonly kind: "netns"; readonly name: string };

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  /** Of this node's pods, the kubelet's uid: distinguishes a pod from a later one of the same name. */
  readonly uid?: string;
  readonly labels: Labels;
  /** status.podIPs (or podIP), in order; empty while the pod has none. */
  readonly ips: readonly Address[];
  readonly hostNetwork: boolean;
  /** spec.nodeName, where it is set. */
  readonly node?: string;
  /** status.phase is Succeeded or Failed: it no longer owns its addresses. */
  readonly finished: boolean;
  /** metadata.deletionTimestamp is set: it still has its addresses, but a later pod may have them too. */
  readonly deleting?: true;
  readonly ports: readonly ContainerPort[];
  readonly attachment?: Attachment;
  /** Source addresses that it may use besides its own: annotation `weir.dev/allowed-sources`. */
  readonly sources?: readonly Cidr[];
  /** Source MAC addresses that it may use besides its own: annotation `weir.dev/allowed-macs`. */
  readonly macs?: readonly string[];
  /**
   * Set where the pod exceeds its namespace's share of the agent's memory: its labels, ports and annotations are not kept. Nothing is
   * allowed to or from it as a subject; as a peer, its labels and the names of its ports are unknown: no selector of an allow rule
   * matches it, and every selector of a Deny may, where that matches its namespace.
   */
  readonly exceeds?: true;
  /** Never set on a pod of a cluster's map. */
  readonly retained?: Retained;
}

/** A pod that has an address: the key of one in the cluster's map, or a retained one. */
export type Holder = string | Pod;

/** The agent's evidence of who has an address, beyond the objects. */
export interface Ownership {
  /** Pods of this node whose interface has the address behind it, by address; several where the evidence does not decide. */
  readonly held: ReadonlyMap<string, { readonly address: Address; readonly holders: readonly Holder[] }>;
  /** Of addresses that several objects have: by address and pod key, the number of the snapshot that first had it so. */
  readonly appeared: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/**
 * Everything that policies are evaluated against. Keys: the name of what is in no namespace; `namespace/name` for the others. A cluster and all
 * in it are values: what changes is given as new maps, and what does not stays the same object.
 */
export interface Cluster {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly pods: ReadonlyMap<string, Pod>;
  readonly policies: ReadonlyMap<string, Policy>;
  /** By name; absent where the source has none. */
  readonly clusterPolicies?: ReadonlyMap<string, ClusterPolicy>;
  readonly services: ReadonlyMap<string, Service>;
  readonly slices: ReadonlyMap<string, EndpointSlice>;
  /** By name. */
  readonly nodes?: ReadonlyMap<string, ClusterNode>;
  /** Absent where there is no node's evidence: only objects count. */
  readonly ownership?: Ownership;
  /** Set where the whole node is in audit mode. */
  readonly mode?: "audit";
  /** Pods (`namespace/name`) whose policies are in audit mode for a time, whatever their own mode, each with its end. */
  readonly bypassed?: ReadonlyMap<string, string>;
  /** Namespaces for whose pods rules accept nothing by domain names, since these do not fit. Only in a cluster as it is enforced. */
  readonly nameless?: readonly string[];
}

export const EMPTY_CLUSTER: Cluster = {
  namespaces: new Map(),
  pods: new Map(),
  policies: new Map(),
  services: new Map(),
  slices: new Map(),
};

export const keyOf = (object: { readonly namespace: string; readonly name: string }): string =>
  `${object.namespace}/${object.name}`;

/** The namespace in a key of an object that is in one. */
export const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"));

/** The labels of a namespace. One that no manifest declares still has the label that the API server would set. */
export function namespaceLabels(cluster: Cluster, name: string): Labels {
  return cluster.namespaces.get(name)?.labels ?? new Map([[NAMESPACE_NAME_LABEL, name]]);
}

/**
 * Whether policies can select the pod as a peer. Host-network pods share the node's address, and a pod that has finished or
 * whose object is gone is no longer one that a rule means; an ipBlock may still cover the address.
 */
export const isSelectable = (pod: Pod): boolean => isSubject(pod) && pod.retained === undefined;

/**
 * Whether nothing is allowed to or from the pod, whatever policies say: its namespace no longer exists, its labels are not known, or these
 * exceed its namespace's share of the agent's memory.
 */
export const isSealed = (pod: Pod): boolean => pod.exceeds === true || pod.retained?.sealed === true;

/** Why nothing is allowed to or from a pod that exceeds its namespace's share. */
export const EXCEEDS_TEXT = "its labels and ports exceed its namespace's share of the agent's memory";

/** Whether policies can isolate the pod: one without a running object too, for as long as its interface lives. */
export const isSubject = (pod: Pod): boolean => !pod.hostNetwork && !pod.finished;

// What this node sees of the network around its pods: addresses of nodes, prefixes on a bridge's link, and tunnel
// ports.

export interface Surroundings {
  /** Local destinations of this node, and addresses of other nodes that its routes name. */
  readonly nodeAddresses: readonly Cidr[];
  /** Prefixes on the link of each bridge, by interface index. */
  readonly onLink: ReadonlyMap<number, readonly Cidr[]>;
  /** UDP ports of this node's tunnels; those of the others are the same, since one network plugin has made them. */
  readonly tunnelPorts: readonly number[];
}

export const NO_SURROUNDINGS: Surroundings = { nodeAddresses: [], onLink: new Map(), tunnelPorts: [] };

/** Marks a value that JSON has no type for: an object with one property of a name that nothing in the model has. */
export const MAP_KEY = "#map";
const INTEGER = "#integer";
const HASHES = "#hashes";

/** A value of the model (plain objects, lists, maps, big integers, lists of hashes) as one that JSON can hold. */
export function toWire(value: unknown): unknown {
  if (typeof value === "bigint") return { [INTEGER]: value.toString() };
  if (isMapping(value)) return { [MAP_KEY]: [...value].map(([key, each]) => [key, toWire(each)]) };
  if (value instanceof Uint32Array) return { [HASHES]: [...value] };
  if (Array.isArray(value)) return value.map(toWire);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, toWire(each)]));
}

function fromWire(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromWire);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [[key, inner] = ["", undefined]] = entries;
  if (key === INTEGER) return BigInt(String(inner));
  if (key === HASHES) return Uint32Array.from(inner as readonly number[]);
  if (key === MAP_KEY) {
    return new Map((inner as readonly [string, unknown][]).map(([name, each]) => [name, fromWire(each)]));
  }
  return Object.fromEntries(entries.map(([name, each]) => [name, fromWire(each)]));
}

/** The cluster that an agent of the same version sent. */
export const clusterFromWire = (value: unknown): Cluster => fromWire(value) as Cluster;
