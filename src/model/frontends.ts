// How kube-proxy implements Services: the addresses and ports that it rewrites, and the backends behind each.
//
// Follows k8s.io/kubernetes/pkg/proxy (endpointSliceCache, CategorizeEndpoints). Where its choice cannot be predicted
// (topology hints, session affinity), every backend that it may choose is one.

import { type Address, FAMILIES, type Family } from "../base/ip.ts";
import { openMultimap } from "../base/multimap.ts";
import { changesBetween, follow, patched } from "../base/versioned-map.ts";
import { type Cluster, EMPTY_CLUSTER, keyOf, type Pod } from "./cluster.ts";
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
  /**
   * An address of spec.externalIPs alone. It may be that of any host, and packets may still go there: those of connections from before
   * the Service, and of new ones until kube-proxy has its rules. So what is denied at the address is denied, wherever else it may lead.
   */
  readonly judgedAsItself: boolean;
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

/** All frontends of the cluster, in key order of their Services: see `Frontends`. */
export const frontendsOf = (cluster: Cluster, nodes: ReadonlySet<string>): Frontend[] => [
  ...openFrontends()(cluster, nodes).all.values(),
];

export interface Frontends {
  /** By `frontendKey`. */
  readonly all: ReadonlyMap<string, Frontend>;
  /** Addresses to which other frontends than before the last call lead, or that judge others, and perhaps more. */
  readonly changed: ReadonlySet<string>;
  /** The keys of those that lead to any of the addresses, or are judged by one themselves, and perhaps of others. Valid until the next call. */
  leadingTo(addresses: Iterable<string>): ReadonlySet<string>;
}

/**
 * All frontends of a cluster, in the time of what has changed since the last call: the Services, their slices, and the pods of
 * Services that have none. One that is as before stays the same object. `nodes` are the names of the node that rewrites, as
 * far as they are known: a Service with internalTrafficPolicy Local leads to no other there.
 */
export function openFrontends(): (cluster: Cluster, nodes: ReadonlySet<string>) => Frontends {
  /** Of each Service; some are claimed by several. */
  const claims = new Map<string, Claim>();
  const claimants = openMultimap<string, string>();
  /** The Services that lead to each address. */
  const leading = openMultimap<string, string>();
  /** Services that select pods and have no slices, by namespace. */
  const unsliced = openMultimap<string, string>();
  let all: ReadonlyMap<string, Frontend> = new Map();
  let cluster: Cluster = EMPTY_CLUSTER;
  let here: string | undefined;

  const touchedBy = (next: Cluster, nodes: string): Set<string> => {
    const touched = new Set<string>(nodes === here ? [] : claims.keys());
    for (const { key } of changesBetween(cluster.services, next.services)) touched.add(key);
    for (const { before, after } of changesBetween(cluster.slices, next.slices))
      for (const slice of [before, after]) {
        const service = slice && serviceOfSlice(slice);
        if (service !== undefined) touched.add(service);
      }
    if (unsliced.size() > 0)
      for (const { before, after } of changesBetween(cluster.pods, next.pods))
        for (const pod of [before, after])
          for (const service of pod === undefined ? [] : unsliced.get(pod.namespace)) touched.add(service);
    return touched;
  };

  const claim = (key: string, next: readonly Frontend[], { keys, addresses }: Changed): void => {
    const before = claims.get(key) ?? NO_CLAIM;
    const isSame =
      next.length === before.frontends.length && next.every((each, at) => isAs(each, before.frontends[at]));
    if (isSame) return;
    const after = claimOf(next);
    for (const each of before.byKey.keys()) claimants.delete(each, key);
    for (const text of before.addresses) leading.delete(text, key);
    for (const each of after.byKey.keys()) claimants.add(each, key);
    for (const text of after.addresses) leading.add(text, key);
    for (const { byKey, addresses: texts } of [before, after]) {
      for (const each of byKey.keys()) keys.add(each);
      for (const text of texts) addresses.add(text);
    }
    if (next.length === 0) claims.delete(key);
    else claims.set(key, after);
  };

  /** Where several Services claim one frontend, it may lead to the backends of any. */
  const mergedAt = (key: string): Frontend | undefined =>
    merged(
      claimants
        .get(key)
        .toSorted()
        .flatMap((service) => claims.get(service)?.byKey.get(key) ?? []),
    );

  return (next, nodes) => {
    const names = [...nodes].sort().join(" ");
    const touched = touchedBy(next, names);
    const slices = slicesByService(next.slices);
    const changed: Changed = { keys: new Set(), addresses: new Set() };
    for (const key of [...touched].sort()) {
      const service = next.services.get(key);
      const own = slices.get(key)?.map(([, slice]) => slice);
      const namespace = key.slice(0, key.indexOf("/"));
      if (service?.selector !== undefined && own === undefined) unsliced.add(namespace, key);
      else unsliced.delete(namespace, key);
      claim(key, service === undefined ? [] : frontendsOfService(next, service, { own, nodes }), changed);
    }
    const patch = new Map<string, Frontend | undefined>();
    for (const key of changed.keys) {
      const is = mergedAt(key);
      if (is === undefined || !isAs(is, all.get(key))) patch.set(key, is);
    }
    all = patched(all, patch);
    cluster = next;
    here = names;
    return {
      all,
      changed: changed.addresses,
      leadingTo(addresses) {
        const services = new Set<string>();
        for (const address of addresses) for (const service of leading.get(address)) services.add(service);
        return new Set(services.values().flatMap((service) => claims.get(service)?.byKey.keys() ?? []));
      },
    };
  };
}

/** Where packets to a frontend may go: to its backends, and where its address may be that of another host, to that one. */
export const judgedIn = ({ address, port, judgedAsItself, backends }: Frontend): readonly Backend[] =>
  judgedAsItself ? [...backends, { address, port }] : backends;

/** The frontends of one Service. */
interface Claim {
  readonly frontends: readonly Frontend[];
  readonly byKey: ReadonlyMap<string, readonly Frontend[]>;
  /** Where packets to any of them may go. */
  readonly addresses: ReadonlySet<string>;
}

const claimOf = (frontends: readonly Frontend[]): Claim => ({
  frontends,
  byKey: Map.groupBy(frontends, frontendKey),
  addresses: new Set(frontends.values().flatMap((each) => judgedIn(each).map(({ address }) => address.text))),
});

const NO_CLAIM = claimOf([]);

interface Changed {
  readonly keys: Set<string>;
  readonly addresses: Set<string>;
}

function frontendsOfService(
  cluster: Cluster,
  service: Service,
  { own, nodes }: { readonly own: readonly EndpointSlice[] | undefined; readonly nodes: ReadonlySet<string> },
): Frontend[] {
  // Both the Service and what is behind it may have thousands of ports.
  const behind = own === undefined ? openPodsBehind(cluster, service) : openSliced(own);
  return service.ports.flatMap((port) =>
    FAMILIES.flatMap((family) => {
      const candidates = (): Candidate[] => behind(port, family);
      return ofPort(service, port, family, { candidates, nodes });
    }),
  );
}

const isAs = (one: Frontend, other: Frontend | undefined): boolean =>
  other !== undefined &&
  frontendKey(one) === frontendKey(other) &&
  one.service === other.service &&
  one.keepsSource === other.keepsSource &&
  one.judgedAsItself === other.judgedAsItself &&
  one.backends.length === other.backends.length &&
  one.backends.every(({ address, port }, index) => {
    const there = other.backends[index];
    return there?.address.text === address.text && there.port === port;
  });

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
  const balanced = service.loadBalancerIps.filter(ofFamily);
  const external = service.externalIps.filter(ofFamily);
  if (internal.length + balanced.length + external.length === 0) return [];
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
      judgedAsItself: false,
      backends: service.onlyLocal ? chosen(near) : all,
    })),
    ...balanced.map((address) => ({
      ...rest,
      address,
      keepsSource: false,
      judgedAsItself: false,
      backends: all,
    })),
    ...external.map((address) => ({
      ...rest,
      address,
      keepsSource: false,
      judgedAsItself: true,
      backends: all,
    })),
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

function merged(all: readonly Frontend[]): Frontend | undefined {
  const [first, second] = all;
  if (first === undefined || second === undefined) return first;
  return {
    ...first,
    keepsSource: all.every(({ keepsSource }) => keepsSource),
    // A Service's ClusterIP, or its load balancer's address, is not that of another host.
    judgedAsItself: all.every(({ judgedAsItself }) => judgedAsItself),
    backends: distinct(all.flatMap(({ backends }) => backends)),
  };
}

const serviceOfSlice = ({ namespace, service }: EndpointSlice): string | undefined =>
  service === undefined ? undefined : keyOf({ namespace, name: service });

/** With their keys, in the order of these. */
const slicesByService = follow<string, EndpointSlice, Map<string, readonly [string, EndpointSlice][]>>(
  () => new Map(),
  (found, { key, before, after }) => {
    const put = (service: string | undefined, slice: EndpointSlice | undefined): void => {
      if (service === undefined) return;
      const others = (found.get(service) ?? []).filter(([name]) => name !== key);
      const own = slice === undefined ? others : [...others, [key, slice] as [string, EndpointSlice]];
      if (own.length === 0) found.delete(service);
      else found.set(service, own.length === 1 ? own : own.toSorted(([a], [b]) => (a < b ? -1 : 1)));
    };
    const [was, is] = [before && serviceOfSlice(before), after && serviceOfSlice(after)];
    if (was !== is) put(was, undefined);
    put(is, after);
  },
);

/** What slices have behind a port of their Service: they name ports as it does, and the number is theirs. */
function openSliced(slices: readonly EndpointSlice[]): (port: ServicePort, family: Family) => Candidate[] {
  const nameOf = ({ name, protocol }: Pick<ServicePort, "name" | "protocol">, family: Family): string =>
    `${family} ${protocol} ${name}`;
  const byName = Map.groupBy(
    slices.flatMap((slice) => slice.ports.map((port) => ({ slice, port }))),
    ({ slice, port }) => nameOf(port, slice.family),
  );
  return (port, family) =>
    (byName.get(nameOf(port, family)) ?? []).flatMap(({ slice, port: { port: number } }) =>
      slice.endpoints.map((endpoint) => ({ ...endpoint, node: endpoint.node, port: number })),
    );
}

/**
 * What the endpoint controller would write for a Service without slices: manifests on disk rarely have them. Pods count
 * as ready, and host-network pods too.
 */
function openPodsBehind(
  cluster: Cluster,
  service: Service,
): (port: ServicePort, family: Family) => Candidate[] {
  const { selector: labels } = service;
  if (labels === undefined) return () => [];
  const selector: Selector = {
    requirements: [...labels].map(([key, value]) => ({ operator: "In", key, values: [value] })),
  };
  const pods = [...cluster.pods.values()].filter(
    (pod) => pod.namespace === service.namespace && !pod.finished && matches(selector, pod.labels),
  );
  return (port, family) =>
    pods.flatMap((pod) => {
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
