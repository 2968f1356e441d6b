// How kube-proxy implements Services: the addresses and ports that it rewrites, and the backends behind each.
//
// Follows k8s.io/kubernetes/pkg/proxy (endpointSliceCache, CategorizeEndpoints). Where its choice cannot be predicted
// (topology hints, session affinity), every backend that it may choose is one.

import type { Address, Family } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { type Cluster, keyOf, type Pod } from "./cluster.ts";
import type { Protocol } from "./protocol.ts";
import { matches, type Selector } from "./selector.ts";
import type { EndpointSlice, Service, ServicePort } from "./service.ts";

/** One address and port that is rewritten on the way. */
export interface Frontend {
  /** `namespace/name` of the Service; the first one's where several claim the same. */
  readonly service: string;
  readonly address: Address;
  readonly protocol: Protocol;
  readonly port: number;
  /**
   * A ClusterIP, for which kube-proxy leaves the source unchanged. Behind its external addresses it may replace the
   * source by the node's own address, so that the backend's end cannot identify the client.
   */
  readonly keepsSource: boolean;
  /** Each once. */
  readonly backends: readonly Backend[];
}

/** Where connections to a frontend end. */
export interface Backend {
  readonly address: Address;
  readonly port: number;
}

interface Candidate extends Backend {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly node: string | undefined;
}

/** Canonical text of a frontend: no two frontends have the same. */
export const frontendKey = (frontend: Pick<Frontend, "address" | "protocol" | "port">): string =>
  `${frontend.address.text} ${frontend.protocol}/${frontend.port}`;

/**
 * All frontends of the cluster, in key order of their Services. `nodes` are the names of the node that rewrites, as far as
 * they are known: a Service with internalTrafficPolicy Local leads to no other there.
 */
export function frontendsOf(cluster: Cluster, nodes: ReadonlySet<string>): Frontend[] {
  const slices = slicesByService(cluster);
  const found = new Map<string, Frontend>();
  for (const key of [...cluster.services.keys()].sort()) {
    const service = cluster.services.get(key) as Service;
    const own = slices.get(key);
    for (const port of service.ports) {
      for (const family of [4, 6] as const) {
        const candidates = (): Candidate[] =>
          own === undefined ? podsBehind(cluster, service, port, family) : sliced(own, port, family);
        for (const frontend of ofPort(service, port, family, { candidates, nodes })) add(found, frontend);
      }
    }
  }
  return [...found.values()];
}

/** Whether every Service that selects pods has slices: the frontends then depend on nothing else. */
export function areSliced(cluster: Cluster): boolean {
  const sliced = slicesByService(cluster);
  return cluster.services.entries().every(([key, { selector }]) => selector === undefined || sliced.has(key));
}

interface Behind {
  readonly candidates: () => Candidate[];
  readonly nodes: ReadonlySet<string>;
}

function ofPort(
  service: Service,
  { protocol, port }: ServicePort,
  family: Family,
  { candidates, nodes }: Behind,
): Frontend[] {
  const ofFamily = (address: Address): boolean => address.family === family;
  const internal = service.clusterIps.filter(ofFamily);
  const external = service.externalIps.filter(ofFamily);
  if (internal.length + external.length === 0) return [];
  const everywhere = candidates();
  // A node that is not known may be this one.
  const near = everywhere.filter(({ node }) => node === undefined || nodes.size === 0 || nodes.has(node));
  const rest = { service: keyOf(service), protocol, port };
  const all = chosen(everywhere);
  return [
    ...internal.map((address) => ({
      ...rest,
      address,
      keepsSource: true,
      backends: service.onlyLocal ? chosen(near) : all,
    })),
    ...external.map((address) => ({ ...rest, address, keepsSource: false, backends: all })),
  ];
}

/** The ready ones; where there are none, those that still serve while they terminate. */
function chosen(candidates: readonly Candidate[]): Backend[] {
  const ready = candidates.filter((each) => each.ready);
  const used = ready.length > 0 ? ready : candidates.filter((each) => each.serving && each.terminating);
  return distinct(used);
}

const distinct = (backends: readonly Backend[]): Backend[] => [
  ...new Map(
    backends.map(({ address, port }) => [`${address.text} ${port}`, { address, port }] as const),
  ).values(),
];

/** Two Services that claim one frontend: it may lead to the backends of either. */
function add(found: Map<string, Frontend>, frontend: Frontend): void {
  const key = frontendKey(frontend);
  const other = found.get(key);
  const merged = other && {
    ...other,
    keepsSource: other.keepsSource && frontend.keepsSource,
    backends: distinct([...other.backends, ...frontend.backends]),
  };
  found.set(key, merged ?? frontend);
}

const slicesByService = ({ slices }: Cluster): ReadonlyMap<string, readonly EndpointSlice[]> =>
  grouped(slices);

const grouped = memo((slices: Cluster["slices"]): ReadonlyMap<string, readonly EndpointSlice[]> => {
  const found = new Map<string, EndpointSlice[]>();
  for (const key of [...slices.keys()].sort()) {
    const slice = slices.get(key) as EndpointSlice;
    if (slice.service === undefined) continue;
    const service = keyOf({ namespace: slice.namespace, name: slice.service });
    const known = found.get(service);
    if (known === undefined) found.set(service, [slice]);
    else known.push(slice);
  }
  return found;
});

/** Slices name ports as the Service does; the number is theirs. */
function sliced(slices: readonly EndpointSlice[], port: ServicePort, family: Family): Candidate[] {
  return slices
    .filter((slice) => slice.family === family)
    .flatMap((slice) =>
      slice.ports
        .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
        .flatMap(({ port: number }) =>
          slice.endpoints.map((endpoint) => ({ ...endpoint, node: endpoint.node, port: number })),
        ),
    );
}

/**
 * What the endpoint controller would write for a Service without slices: manifests on disk rarely have them. Pods count
 * as ready, and host-network pods too.
 */
function podsBehind(cluster: Cluster, service: Service, port: ServicePort, family: Family): Candidate[] {
  const { selector: labels } = service;
  if (labels === undefined) return [];
  const selector: Selector = {
    requirements: [...labels].map(([key, value]) => ({ operator: "In", key, values: [value] })),
  };
  return [...cluster.pods.values()]
    .filter((pod) => pod.namespace === service.namespace && !pod.finished && matches(selector, pod.labels))
    .flatMap((pod) => {
      const address = pod.ips.find((each) => each.family === family);
      const number = targetOn(pod, port);
      if (address === undefined || number === undefined) return [];
      return [{ address, port: number, ready: true, serving: true, terminating: false, node: pod.node }];
    });
}

/** FindPort of k8s.io/kubernetes/pkg/api/v1/pod: a name is that of the first port that the pod declares so. */
function targetOn(pod: Pod, { target, protocol }: ServicePort): number | undefined {
  if (typeof target === "number") return target;
  return pod.ports.find((port) => port.name === target && port.protocol === protocol)?.port;
}
