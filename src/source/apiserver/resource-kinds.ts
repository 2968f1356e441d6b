// The kinds that reflectors follow: their paths, and what is kept of an object.

import type { ClusterNode, Namespace, Pod } from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { Policy } from "../../model/network-policy.ts";
import type { Problem } from "../../model/problem.ts";
import type { EndpointSlice, Service } from "../../model/service.ts";
import { isMap, valueAt } from "../parse/fields.ts";
import { CLUSTER_POLICY_VERSION, parseDocument } from "../parse/parse-document.ts";
import { mirroredUid, plainPod } from "../parse/parse-pod.ts";
import { OTHER_PROXY_LABELS, plainSlice } from "../parse/parse-service.ts";
import type { Interner } from "./interning.ts";
import { openTrimmer, parseWhole, shared, type Wanted } from "./json-trim.ts";
import type { Parsers } from "./list-request.ts";
import { Failure } from "./request-failure.ts";
import { INITIAL_END } from "./watch-request.ts";

/** What is kept of an object, by its kind. */
export interface Values {
  readonly Namespace: Namespace;
  readonly NetworkPolicy: Policy;
  readonly ClusterNetworkPolicy: ClusterPolicy;
  readonly Pod: Pod;
  readonly Service: Service;
  readonly EndpointSlice: EndpointSlice;
  readonly Node: ClusterNode;
}

export type Value = Values[Kind];

/** An object as it came, with its value where it has one. */
export interface Item {
  /** As the cluster's maps have it. */
  readonly key: string;
  readonly uid: string;
  readonly version: string;
  readonly value: Value | undefined;
  /** The value has all that the object declares. */
  readonly complete: boolean;
  readonly problems: readonly Problem[];
}

export interface Reader {
  readonly kind: Kind;
  readonly served: Served;
  /** Name of this node. */
  readonly node: string;
  readonly interner: Interner;
}

/** Key, uid and resourceVersion. Errors: Failure where the object has no name or version, or is of the wrong kind. */
export function identityOf(raw: unknown, { kind, served }: Pick<Reader, "kind" | "served">) {
  const metadata = valueAt(raw, ["metadata"]);
  const field = (name: string): string => {
    const value = valueAt(metadata, [name]);
    return typeof value === "string" ? value : "";
  };
  const name = field("name");
  const said = valueAt(raw, ["kind"]);
  if (said !== undefined && said !== kind)
    throw unreadable(`expected a ${kind}, not a ${String(said)}`, served);
  if (name === "") throw unreadable(`a ${kind} has no metadata.name`, served);
  const namespace = field("namespace");
  // Unlike a template, join() makes a text in one piece, which takes half the memory.
  const key = CLUSTER_SCOPED.has(kind) ? name : [namespace, name].join("/");
  return { key, uid: field("uid"), version: field("resourceVersion") };
}

const CLUSTER_SCOPED: ReadonlySet<Kind> = new Set(["Namespace", "Node", "ClusterNetworkPolicy"]);

const unreadable = (reason: string, { path }: Served): Failure =>
  new Failure(reason, path, { why: "unreadable" });

const NO_PROBLEMS: readonly Problem[] = [];
const nowhere = { where: () => ({}) };

/** Errors: Failure as of identityOf(). What else is wrong with it is a problem of the item. */
export function readItem(raw: unknown, reader: Reader): Item {
  const identity = identityOf(raw, reader);
  const plain = plainValue(raw, reader);
  if (plain !== undefined)
    return {
      ...identity,
      value: trimmed(plain, identity.uid, reader),
      complete: true,
      problems: NO_PROBLEMS,
    };
  const fields = isMap(raw) ? raw : {};
  const { objects, problems } = parseDocument(
    { ...shaped(fields, reader), kind: reader.kind, apiVersion: apiVersionOf(reader.served) },
    nowhere,
  );
  const [object] = objects;
  const found = [...problems, ...(object?.problems ?? [])];
  return {
    ...identity,
    value: object?.value && trimmed(object.value, runningAs(raw, identity), reader),
    complete: object?.complete ?? false,
    problems: found.length === 0 ? NO_PROBLEMS : keptOf(found, reader, identity.key),
  };
}

/** What parseDocument() would give of an object without issues, and much faster; undefined for others, and of other kinds. */
function plainValue(raw: unknown, { kind, served }: Reader): Value | undefined {
  if (kind === "Pod") return plainPod(raw);
  return kind === "EndpointSlice" && served.apiVersion !== SLICES_BETA ? plainSlice(raw) : undefined;
}

/** The uid that the runtime uses for a pod: that of a static pod is the kubelet's own, which its mirror at the server names. */
function runningAs(raw: unknown, { uid }: { readonly uid: string }): string {
  return mirroredUid(valueAt(raw, ["metadata", "annotations", "kubernetes.io/config.mirror"])) ?? uid;
}

/** The problems of one object that are kept, and one more with the number of the others. */
const PROBLEMS_MAX = 20;

function keptOf(problems: readonly Problem[], reader: Reader, key: string): readonly Problem[] {
  const ranked = problems.toSorted((a, b) => Number(b.severity === "error") - Number(a.severity === "error"));
  const all = problems.length > PROBLEMS_MAX ? ranked.slice(0, PROBLEMS_MAX) : problems;
  const more = problems.length - all.length;
  const rest: Problem[] = more === 0 ? [] : [{ severity: "error", reason: `has ${more} more problems` }];
  const listed = [...all, ...rest].map((problem) => named(problem, reader, key));
  // Texts of their own: V8 keeps the whole of a text that a part is kept of, and a value that is quoted may be very long.
  return JSON.parse(JSON.stringify(listed)) as readonly Problem[];
}

const named = (problem: Problem, { kind }: Reader, key: string): Problem =>
  problem.object === undefined ? { ...problem, object: `${kind} ${key}` } : problem;

const SLICES_BETA = "discovery.k8s.io/v1beta1";
const apiVersionOf = ({ apiVersion }: Served): string =>
  apiVersion === SLICES_BETA ? "discovery.k8s.io/v1" : apiVersion;

/** What policies are read from. A field that a newer server has added elsewhere makes no policy unreadable. */
const POLICY_METADATA = ["name", "namespace", "labels", "annotations"];

function shaped(fields: Record<string, unknown>, { kind, served }: Reader): Record<string, unknown> {
  if (!POLICY_KINDS.has(kind)) return withNodes(fields, served);
  const { metadata, spec } = fields;
  if (!isMap(metadata)) return { metadata, spec };
  const known = POLICY_METADATA.flatMap((key) =>
    Object.hasOwn(metadata, key) ? [[key, metadata[key]]] : [],
  );
  if (kind === "ClusterNetworkPolicy") return { metadata: Object.fromEntries(known) as unknown, spec };
  // To the API, a podSelector that is left out is {}: every pod. In a file it is more likely a mistake.
  const whole = isMap(spec) && spec["podSelector"] === undefined ? { ...spec, podSelector: {} } : spec;
  return { metadata: Object.fromEntries(known) as unknown, spec: whole ?? { podSelector: {} } };
}

/** The beta of EndpointSlice names an endpoint's node among its topology. */
function withNodes(fields: Record<string, unknown>, { apiVersion }: Served): Record<string, unknown> {
  const endpoints = fields["endpoints"];
  if (apiVersion !== SLICES_BETA || !Array.isArray(endpoints)) return fields;
  return {
    ...fields,
    endpoints: endpoints.map((endpoint: unknown) => {
      const node = valueAt(endpoint, ["topology", "kubernetes.io/hostname"]);
      return isMap(endpoint) && endpoint["nodeName"] === undefined && typeof node === "string"
        ? { ...endpoint, nodeName: node }
        : endpoint;
    }),
  };
}

function trimmed(value: Value, uid: string, { kind, node, interner }: Reader): Value {
  switch (kind) {
    case "Pod":
      return trimmedPod(value as Pod, uid, { node, interner });
    case "Namespace": {
      const { name, labels } = value as Namespace;
      return { name, ...(uid === "" ? {} : { uid }), labels: interner.labels(labels) };
    }
    case "Node": {
      const { labels, ...node } = value as ClusterNode;
      return { ...node, labels: interner.labels(labels) };
    }
    case "EndpointSlice": {
      const slice = value as EndpointSlice;
      const endpoints = slice.endpoints.map((endpoint) =>
        endpoint.node === undefined ? endpoint : { ...endpoint, node: interner.text(endpoint.node) },
      );
      return { ...slice, namespace: interner.text(slice.namespace), endpoints };
    }
    default:
      return value;
  }
}

function trimmedPod(pod: Pod, uid: string, { node, interner }: Pick<Reader, "node" | "interner">): Pod {
  const { name, hostNetwork, finished, deleting, attachment, sources, macs } = pod;
  // A copy has capacity for what is in it; one that grew has spare capacity.
  const ips = pod.ips.slice();
  const namespace = interner.text(pod.namespace);
  const labels = interner.labels(pod.labels);
  const ports = interner.ports(pod.ports);
  const at = pod.node === undefined ? undefined : interner.text(pod.node);
  const isPlain = (attachment ?? sources ?? macs ?? deleting) === undefined;
  // There are thousands of pods elsewhere: written out in one piece, an object takes no more memory than its fields.
  if (at !== undefined && at !== node && isPlain)
    return { namespace, name, labels, ips, hostNetwork, finished, ports, node: at };
  return {
    ...{ namespace, name, labels, ips, hostNetwork, finished, ports },
    ...(at === undefined ? {} : { node: at }),
    ...(at === node && uid !== "" ? { uid: pod.uid ?? uid } : {}),
    ...(deleting && { deleting }),
    ...(attachment && { attachment }),
    ...(sources && { sources }),
    ...(macs && { macs }),
  };
}

// What is followed: each kind with the paths that serve it, the newest first.

/** In the order of their importance: without the first ones the others mean little. */
export const KINDS = [
  ...(["Namespace", "NetworkPolicy", "ClusterNetworkPolicy"] as const),
  ...(["Pod", "Service", "EndpointSlice", "Node"] as const),
] as const;
export type Kind = (typeof KINDS)[number];

/** Kinds of which nothing may be left out silently: a version that cannot be read does not replace one that could. */
export const POLICY_KINDS: ReadonlySet<Kind> = new Set(["NetworkPolicy", "ClusterNetworkPolicy"]);

/** Kinds that a server need not have: those of custom resources. */
export const OPTIONAL_KINDS: ReadonlySet<Kind> = new Set(["ClusterNetworkPolicy"]);

export interface Served {
  readonly apiVersion: string;
  /** Without a query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

const CORE = { apiVersion: "v1", path: "/api/v1" };
const of = (
  group: { readonly apiVersion: string; readonly path: string },
  plural: string,
  query: Served["query"] = {},
): Served => ({ apiVersion: group.apiVersion, path: `${group.path}/${plural}`, query });
const group = (apiVersion: string) => ({ apiVersion, path: `/apis/${apiVersion}` });

/**
 * Services and slices that kube-proxy does not follow either (its noProxyName and noHeadlessEndpoints): no address of the node's
 * kernel leads to them.
 */
const PROXIED = { labelSelector: OTHER_PROXY_LABELS.map((label) => `!${label}`).join(",") };

export const SERVED: Readonly<Record<Kind, readonly [Served, ...Served[]]>> = {
  Namespace: [of(CORE, "namespaces")],
  NetworkPolicy: [of(group("networking.k8s.io/v1"), "networkpolicies")],
  ClusterNetworkPolicy: [of(group(CLUSTER_POLICY_VERSION), "clusternetworkpolicies")],
  Pod: [of(CORE, "pods")],
  Service: [of(CORE, "services", PROXIED)],
  // Servers before 1.21 have only the beta, which 1.25 no longer has.
  EndpointSlice: [
    of(group("discovery.k8s.io/v1"), "endpointslices", PROXIED),
    of(group("discovery.k8s.io/v1beta1"), "endpointslices", PROXIED),
  ],
  Node: [of(CORE, "nodes")],
};

// What is kept of the bytes of each kind's objects: only what the parsers read.

/** A mirror pod's annotation is in parse-pod.ts. */
const METADATA: Wanted = {
  ...{ name: true, namespace: true, uid: true, resourceVersion: true },
  ...{ deletionTimestamp: true, labels: true },
};

const WANTED: Readonly<Record<Exclude<Kind, "NetworkPolicy" | "ClusterNetworkPolicy">, Wanted>> = {
  Namespace: { metadata: METADATA },
  Pod: {
    metadata: {
      ...METADATA,
      labels: shared(true),
      annotations: { "weir.dev/*": true, "kubernetes.io/config.mirror": true },
    },
    spec: {
      nodeName: true,
      hostNetwork: true,
      containers: shared({ ports: true }),
      initContainers: shared({ ports: true, restartPolicy: true }),
    },
    status: { phase: true, podIP: true, podIPs: true },
  },
  Service: { metadata: METADATA, spec: true, status: { loadBalancer: true } },
  EndpointSlice: {
    metadata: METADATA,
    addressType: true,
    endpoints: {
      addresses: true,
      conditions: true,
      nodeName: true,
      topology: { "kubernetes.io/hostname": true },
    },
    ports: true,
  },
  Node: {
    metadata: { name: true, uid: true, resourceVersion: true, labels: true },
    spec: { podCIDR: true, podCIDRs: true },
    status: { addresses: true },
  },
};

function parsersFor(wanted: Wanted): Parsers {
  const { metadata } = wanted;
  const own = (metadata === true || metadata === undefined ? {} : metadata) as Wanted;
  const annotations = (own["annotations"] === true ? {} : own["annotations"]) as Wanted | undefined;
  const object: Wanted = {
    ...{ kind: true, apiVersion: true },
    ...wanted,
    metadata: { ...own, annotations: { ...annotations, [INITIAL_END]: true } },
    // Of an ERROR event, whose object is a Status.
    ...{ code: true, message: true, details: true },
  };
  return {
    item: openTrimmer({ kind: true, apiVersion: true, ...wanted }),
    event: openTrimmer({ type: true, object }),
  };
}

/** Of a policy everything is read: an unknown field is a problem of it. */
const WHOLE: Parsers = { item: parseWhole, event: parseWhole };

export const PARSERS: Readonly<Record<Kind, Parsers>> = {
  Namespace: parsersFor(WANTED.Namespace),
  NetworkPolicy: WHOLE,
  ClusterNetworkPolicy: WHOLE,
  Pod: parsersFor(WANTED.Pod),
  Service: parsersFor(WANTED.Service),
  EndpointSlice: parsersFor(WANTED.EndpointSlice),
  Node: parsersFor(WANTED.Node),
};
