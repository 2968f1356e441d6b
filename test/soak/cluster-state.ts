// The objects of the soak test's cluster, and what the oracle says of its probes.

import { pick, type Random } from "../../bench/common/random.ts";
import { present } from "../../src/base/assert.ts";
import type { Address } from "../../src/base/ip.ts";
import { parseAddress } from "../../src/base/ip.ts";
import {
  type Cluster,
  type ClusterNode,
  type ContainerPort,
  keyOf,
  type Namespace,
  type Pod,
  toWire,
} from "../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../src/model/cluster-network-policy.ts";
import { type Frontend, frontendsOf } from "../../src/model/frontends.ts";
import type { Policy } from "../../src/model/network-policy.ts";
import { matches } from "../../src/model/selector.ts";
import type { EndpointSlice, Service } from "../../src/model/service.ts";
import { evaluate, permits, type Verdict } from "../../src/policy/oracle.ts";
import { serviceVerdict } from "../../src/policy/service-oracle.ts";
import { type Kind, POLICY_KINDS, SERVED } from "../../src/source/apiserver/resource-kinds.ts";
import { parseDocument } from "../../src/source/parse/parse-document.ts";
import type { RawObject } from "../unit/source/apiserver/server.ts";
import { keyIn } from "./api-process.ts";
import type { KindedObject } from "./api-server.ts";
import { type Expected, type ProbeSpec, SERVED_PORTS } from "./prober.ts";

export const NODE = "soak-node";
export const NAMESPACES = ["ns0", "ns1", "ns2", "ns3"] as const;
const ROLES = ["web", "db", "job"] as const;
const TIERS = ["gold", "tin"] as const;

export type LabelMap = Readonly<Record<string, string>>;

/** A pod of this node, for as long as its interface lives. */
export interface LocalPod {
  readonly slot: number;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly v4: string;
  readonly v6: string;
  labels: LabelMap;
  /** What its object shows; only the interface is left of a pod that is "gone" or "failed". */
  object: "running" | "gone" | "failed" | "no addresses";
  /** In which directions it has been isolated since its object last showed it as running. */
  isolated: { ingress: boolean; egress: boolean };
  /** Its namespace no longer existed then or since. */
  sealed: boolean;
  /** Its sandbox, where weir-cni has reported it. */
  container?: string;
}

export const addressesOfSlot = (slot: number): { readonly v4: string; readonly v6: string } => ({
  v4: `10.66.${Math.floor(slot / 250)}.${1 + (slot % 250)}`,
  v6: `fd66::${(slot + 1).toString(16)}`,
});

export const randomLabels = (random: Random): LabelMap => ({
  role: pick(random, ROLES),
  tier: pick(random, TIERS),
});

export const teamLabels = (random: Random): LabelMap => ({ team: pick(random, TIERS) });

/** Of every pod; one without an object keeps them. */
const NAMED_PORTS: readonly ContainerPort[] = [
  { name: "web", port: SERVED_PORTS[0], protocol: "TCP" },
  { name: "questions", port: SERVED_PORTS[1], protocol: "UDP" },
];

export function podObject(pod: LocalPod): RawObject {
  const ips = pod.object === "no addresses" ? [] : [{ ip: pod.v4 }, { ip: pod.v6 }];
  const ports = NAMED_PORTS.map(({ port, ...named }) => ({ ...named, containerPort: port }));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: pod.name, namespace: pod.namespace, uid: pod.uid, labels: pod.labels },
    spec: { nodeName: NODE, containers: [{ name: "main", image: "registry.example/main:1", ports }] },
    status: {
      phase: pod.object === "failed" ? "Failed" : "Running",
      ...(ips[0] === undefined ? {} : { podIP: ips[0].ip }),
      podIPs: ips,
    },
  };
}

export const namespaceObject = (name: string, labels: LabelMap): RawObject => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, uid: `uid-of-${name}`, labels: { "kubernetes.io/metadata.name": name, ...labels } },
});

function peerOf(random: Random): object {
  const role = { podSelector: { matchLabels: { role: pick(random, ROLES) } } };
  const tier = {
    podSelector: {
      matchExpressions: [
        { key: "tier", operator: pick(random, ["In", "NotIn"]), values: [pick(random, TIERS)] },
      ],
    },
  };
  const team = { namespaceSelector: { matchLabels: { team: pick(random, TIERS) } } };
  const block = {
    ipBlock: {
      cidr: pick(random, ["10.66.0.0/28", "10.66.0.16/28", "10.66.0.32/27", "fd66::/124", "fd66::10/124"]),
    },
  };
  const excepted = { ipBlock: { cidr: "10.66.0.0/16", except: [`10.66.0.${16 * random.below(4)}/28`] } };
  return pick(random, [role, tier, team, { ...team, ...role }, block, excepted]);
}

function portOf(random: Random): object {
  const protocol = pick(random, ["TCP", "UDP"]);
  const [first, last] = SERVED_PORTS;
  return pick(random, [
    { protocol, port: pick(random, SERVED_PORTS) },
    { protocol: "TCP", port: "web" },
    { protocol: "UDP", port: "questions" },
    { protocol, port: first - random.below(3), endPort: last },
  ]);
}

function rulesOf(random: Random, peers: "from" | "to"): object[] {
  return Array.from({ length: 1 + random.below(2) }, () => ({
    ...(random.below(4) === 0
      ? {}
      : { [peers]: Array.from({ length: 1 + random.below(2) }, () => peerOf(random)) }),
    ...(random.below(2) === 0 ? {} : { ports: [portOf(random)] }),
  }));
}

export function randomPolicy(random: Random, number: number): RawObject {
  const types = pick(random, [["Ingress"], ["Ingress"], ["Egress"], ["Ingress", "Egress"]]);
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: `p${number}`, namespace: pick(random, NAMESPACES), uid: `uid-of-policy-${number}` },
    spec: {
      podSelector: random.below(3) === 0 ? {} : { matchLabels: { role: pick(random, ROLES) } },
      policyTypes: types,
      ...(types.includes("Ingress") ? { ingress: rulesOf(random, "from") } : {}),
      ...(types.includes("Egress") ? { egress: rulesOf(random, "to") } : {}),
    },
  };
}

/** The port of a Service, which leads to SERVED_PORTS[0] in TCP and to SERVED_PORTS[1] in UDP. */
export const SERVICE_PORT = 8_000;

export const addressesOfService = (number: number): { readonly v4: string; readonly v6: string } => ({
  v4: `10.67.0.${1 + number}`,
  v6: `fd67::${(number + 1).toString(16)}`,
});

const SERVICE_PORTS = [
  { name: "web", protocol: "TCP", target: SERVED_PORTS[0] },
  { name: "questions", protocol: "UDP", target: SERVED_PORTS[1] },
] as const;

/** A Service with its EndpointSlices, which leads to this pod alone. */
export function serviceObjects(
  number: number,
  pod: LocalPod,
): (KindedObject & { readonly object: RawObject })[] {
  const { namespace } = pod;
  const name = `s${number}`;
  const metadata = { name, namespace, uid: `uid-of-service-${number}` };
  const { v4, v6 } = addressesOfService(number);
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: {
      clusterIP: v4,
      clusterIPs: [v4, v6],
      ipFamilies: ["IPv4", "IPv6"],
      type: "ClusterIP",
      ports: SERVICE_PORTS.map(({ target, ...port }) => ({
        ...port,
        port: SERVICE_PORT,
        targetPort: target,
      })),
    },
  };
  const slices = ([4, 6] as const).map((family) => ({
    kind: "EndpointSlice" as const,
    object: {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { ...metadata, name: `${name}-v${family}`, labels: { "kubernetes.io/service-name": name } },
      addressType: `IPv${family}`,
      endpoints: [
        {
          addresses: [family === 4 ? pod.v4 : pod.v6],
          conditions: { ready: true },
          nodeName: NODE,
          targetRef: { kind: "Pod", namespace, name: pod.name, uid: pod.uid },
        },
      ],
      ports: SERVICE_PORTS.map(({ target, ...port }) => ({ ...port, port: target })),
    },
  }));
  return [{ kind: "Service", object: service }, ...slices];
}

const nowhere = { where: () => ({}) };

/** The cluster that these objects are, by the parser of the product, whose own tests say that it reads them as Kubernetes does. */
export function clusterOf(objects: Iterable<{ readonly kind: Kind; readonly object: RawObject }>): Cluster {
  const found = {
    Namespace: new Map<string, Namespace>(),
    Pod: new Map<string, Pod>(),
    NetworkPolicy: new Map<string, Policy>(),
    ClusterNetworkPolicy: new Map<string, ClusterPolicy>(),
    Service: new Map<string, Service>(),
    EndpointSlice: new Map<string, EndpointSlice>(),
    Node: new Map<string, ClusterNode>(),
  };
  for (const { kind, object } of objects) {
    // As resource-kinds.ts reads them: of a policy's metadata nothing that policies do not have.
    const { uid: _, ...metadata } = object.metadata;
    const { apiVersion } = SERVED[kind][0];
    const document = { ...object, ...(POLICY_KINDS.has(kind) ? { metadata } : {}), kind, apiVersion };
    const { objects: parsed, problems } = parseDocument(document, nowhere);
    const value = parsed[0]?.value;
    if (value === undefined) throw new Error(`${kind} ${keyIn(object)}: ${JSON.stringify(problems)}`);
    (found[kind] as Map<string, unknown>).set(keyIn(object), value);
  }
  return {
    namespaces: found.Namespace,
    pods: found.Pod,
    policies: found.NetworkPolicy,
    clusterPolicies: found.ClusterNetworkPolicy,
    services: found.Service,
    slices: found.EndpointSlice,
    nodes: found.Node,
  };
}

/** What tells whether two clusters mean the same: the agent's own, and the test's. */
export function signatureOf(cluster: Cluster): ReadonlyMap<string, string> {
  const lines = new Map<string, string>();
  const sorted = (labels: ReadonlyMap<string, string>): string => JSON.stringify([...labels].sort());
  for (const [key, { labels }] of cluster.namespaces) lines.set(`Namespace ${key}`, sorted(labels));
  for (const [key, { labels, ips, finished }] of cluster.pods)
    lines.set(`Pod ${key}`, `${sorted(labels)} ${ips.map(({ text }) => text).join()} ${finished}`);
  for (const [key, policy] of cluster.policies)
    lines.set(`NetworkPolicy ${key}`, JSON.stringify(toWire(policy)));
  for (const [key, { clusterIps }] of cluster.services)
    lines.set(`Service ${key}`, clusterIps.map(({ text }) => text).join());
  for (const [key, { endpoints }] of cluster.slices)
    lines.set(`EndpointSlice ${key}`, endpoints.map(({ address }) => address.text).join());
  return lines;
}

/** Empty if they mean the same. Of a pod whose status has no addresses any more, the agent keeps those that it had. */
export function differencesOf(ours: Cluster, theirs: Cluster): string[] {
  const withoutAddresses = new Map(
    [...theirs.pods].map(([key, pod]) => [
      key,
      ours.pods.get(key)?.ips.length === 0 ? { ...pod, ips: [] } : pod,
    ]),
  );
  const [want, have] = [signatureOf(ours), signatureOf({ ...theirs, pods: withoutAddresses })];
  const found = [...want]
    .filter(([key, text]) => have.get(key) !== text)
    .map(([key, text]) => `${key}: ${have.get(key) ?? "missing"}, not ${text}`);
  return [...found, ...[...have.keys()].filter((key) => !want.has(key)).map((key) => `${key}: not there`)];
}

/** Whether a policy isolates the pod in any direction: only then are its flows known. */
export function isIsolated(cluster: Cluster, pod: LocalPod): boolean {
  if (pod.isolated.ingress || pod.isolated.egress || pod.sealed) return true;
  const labels = new Map(Object.entries(pod.labels));
  return [...cluster.policies.values()].some(
    (policy) => policy.namespace === pod.namespace && matches(policy.subject, labels),
  );
}

/** Remembers how isolated pods without an object have been. */
export function updateRetained(cluster: Cluster, pods: Iterable<LocalPod>): void {
  for (const pod of pods) {
    if (pod.object === "running" || pod.object === "no addresses") {
      pod.isolated = { ingress: false, egress: false };
      pod.sealed = false;
    }
    const labels = new Map(Object.entries(pod.labels));
    for (const policy of cluster.policies.values()) {
      if (policy.namespace !== pod.namespace || !matches(policy.subject, labels)) continue;
      for (const direction of ["ingress", "egress"] as const)
        if (policy.isolates[direction]) pod.isolated[direction] = true;
    }
    if (!cluster.namespaces.has(pod.namespace)) pod.sealed = true;
  }
}

const addressIn = (text: string): Address => {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};

/** The pod as the oracle takes it. */
function judged(cluster: Cluster, pod: LocalPod): Pod {
  const known = cluster.pods.get(keyOf(pod));
  const isRunning = pod.object === "running" || pod.object === "no addresses";
  if (isRunning && known !== undefined) return known;
  return {
    namespace: pod.namespace,
    name: pod.name,
    uid: pod.uid,
    labels: new Map(Object.entries(pod.labels)),
    ips: [addressIn(pod.v4), addressIn(pod.v6)],
    hostNetwork: false,
    node: NODE,
    finished: false,
    ports: known?.ports ?? NAMED_PORTS,
    retained: { isolated: { ...pod.isolated }, since: "", why: "", ...(pod.sealed ? { sealed: true } : {}) },
  };
}

const PROTOCOLS = {
  "udp answered": "UDP",
  "udp from new ports": "UDP",
  ping: "ICMP",
  connect: "TCP",
  transfer: "TCP",
} as const;

/** Of a cluster, by address, protocol and port. */
const frontends = new WeakMap<Cluster, ReadonlyMap<string, Frontend>>();
const keyOfFrontend = (address: string, protocol: string, port: number): string =>
  `${address} ${protocol} ${port}`;

function frontendAt(cluster: Cluster, key: string): Frontend | undefined {
  let all = frontends.get(cluster);
  if (all === undefined) {
    const found = frontendsOf(cluster, new Set([NODE]));
    all = new Map(found.map((each) => [keyOfFrontend(each.address.text, each.protocol, each.port), each]));
    frontends.set(cluster, all);
  }
  return all.get(key);
}

interface Judged {
  readonly verdict: Verdict;
  /** Whether packets to the Service may leave the client; undefined if the probe is not to one, or to one that is not known. */
  readonly leaves: boolean | undefined;
}

function judge(cluster: Cluster, probe: ProbeSpec, pods: ReadonlyMap<number, LocalPod>): Judged {
  const [from, to] = [probe.from, probe.to].map((slot) => {
    const pod = present(pods.get(slot), `pod ${slot}`);
    const address = addressIn(probe.family === 4 ? pod.v4 : pod.v6);
    return { kind: "pod", pod: judged(cluster, pod), address } as const;
  });
  const ends = { from: present(from, "a source"), to: present(to, "a destination") };
  const protocol = PROTOCOLS[probe.kind];
  const { frontend } = probe;
  const known = frontend && frontendAt(cluster, keyOfFrontend(frontend.address, protocol, frontend.port));
  return {
    verdict: evaluate(cluster, { ...ends, protocol, port: probe.port }),
    leaves: known && serviceVerdict(cluster, { from: ends.from, frontend: known }, () => true).leaves,
  };
}

/** Whether the oracle allows a probe. */
export function verdictOf(cluster: Cluster, probe: ProbeSpec, pods: ReadonlyMap<number, LocalPod>): Expected {
  const { verdict, leaves } = judge(cluster, probe, pods);
  if (probe.frontend === undefined) return verdict.allowed ? "allowed" : "denied";
  if (leaves === undefined) return "either";
  return leaves && permits(verdict.ingress) ? "allowed" : "denied";
}

/** Why, for people. */
export function verdictText(cluster: Cluster, probe: ProbeSpec, pods: ReadonlyMap<number, LocalPod>): string {
  if (!pods.has(probe.from) || !pods.has(probe.to)) return "a pod is gone";
  const { verdict, leaves } = judge(cluster, probe, pods);
  const { egress, ingress } = verdict;
  return JSON.stringify({ egress, ingress, ...(leaves === undefined ? {} : { leaves }) });
}
