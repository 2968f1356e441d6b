// How kube-proxy implements Services: the addresses and ports that it rewrites, and the backends behind each.
//
// Follows k8s.io/kubernetes/pkg/proxy (endpointSliceCache, CategorizeEndpoints). Where its choice cannot be predicted
// (topology hints, session affinity), every backend that it may choose is one.
//
// A Service with many ports and many endpoints has the product of both behind it: its frontends share their lists of addresses, and what is
// beyond the share of the Service's namespace is refused (frontend-shares.ts).

import { addressHash, type FilterWords, filterOf, isInFilter, NO_WORDS } from "../base/address-filter.ts";
import { type Address, FAMILIES, type Family } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { openMultimap } from "../base/multimap.ts";
import { changesBetween, follow, patched } from "../base/versioned-map.ts";
import { type Cluster, EMPTY_CLUSTER, keyOf, namespaceOf, type Pod } from "./cluster.ts";
import {
  type FamilySize,
  FRONTEND_CAPACITIES,
  type FrontendCapacities,
  type FrontendExcess,
  openFrontendShares,
  type ServiceSize,
} from "./frontend-shares.ts";
import type { Protocol } from "./protocol.ts";
import { type Labels, matches, type Selector } from "./selector.ts";
import {
  addressesOfService,
  type EndpointSlice,
  type Service,
  type ServicePort,
  type SliceEndpoint,
} from "./service.ts";

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
  /** One for each port; the other ports of the Service share the lists of addresses. */
  readonly backends: readonly Backends[];
  /** Set where the backends are not known, as they are too many: denied to every pod to which anything can be denied. */
  readonly refused?: true;
}

/** Where connections to a frontend end: a port of several addresses, each once. */
export interface Backends {
  readonly addresses: readonly Address[];
  readonly port: number;
}

export interface Backend {
  readonly address: Address;
  readonly port: number;
}

/** One by one, which for a Service of many ports is the product of these and its endpoints. */
export const backendsOf = ({ backends }: Pick<Frontend, "backends">): Backend[] =>
  backends.flatMap(({ addresses, port }) => addresses.map((address) => ({ address, port })));

/** Canonical text of a frontend: no two frontends have the same. */
export const frontendKey = (frontend: Pick<Frontend, "address" | "protocol" | "port">): string =>
  `${frontend.address.text} ${frontend.protocol}/${frontend.port}`;

/** All frontends of the cluster, in key order of their Services: see `Frontends`. */
export const frontendsOf = (
  cluster: Cluster,
  nodes: ReadonlySet<string>,
  capacities?: FrontendCapacities,
): Frontend[] => [...openFrontends()(cluster, nodes, capacities).all.values()];

export interface Frontends {
  /** By `frontendKey`. */
  readonly all: ReadonlyMap<string, Frontend>;
  /** Addresses to which other frontends than before the last call lead, or that judge others, and perhaps more. */
  readonly changed: ReadonlySet<string>;
  /** The keys of those that lead to any of the addresses, or are judged by one themselves, and perhaps of others. Valid until the next call. */
  leadingTo(addresses: Iterable<string>): ReadonlySet<string>;
  /** Addresses of Services whose ports are not known: there are no frontends there, and every port is refused. The same while nothing changes. */
  readonly closed: ClosedAddresses;
  /** What is beyond the namespaces' shares; the same list while nothing changes. */
  readonly excesses: readonly FrontendExcess[];
}

/** As many as tenants write, so only by hashes: a few other addresses are closed, too. */
export interface ClosedAddresses {
  readonly words: FilterWords;
  has(address: Address): boolean;
  /** `namespace/name` of the first Service that has it; undefined where it is none's. In the time of all addresses that are closed. */
  serviceAt(address: Address): string | undefined;
}

export const NOTHING_CLOSED: ClosedAddresses = {
  words: NO_WORDS,
  has: () => false,
  serviceAt: () => undefined,
};

/** By Service. */
function closedOf(closing: ReadonlyMap<string, Uint32Array>): ClosedAddresses {
  if (closing.size === 0) return NOTHING_CLOSED;
  const words = filterOf(closing.values());
  return {
    words,
    has: (address) => isInFilter(words, address),
    serviceAt(address) {
      const hash = addressHash(address);
      const services = [...closing].flatMap(([key, hashes]) => (hashes.includes(hash) ? [key] : []));
      return services.sort()[0];
    },
  };
}

/**
 * All frontends of a cluster, in the time of what has changed since the last call: the Services, their slices, and the pods of
 * Services that have none. One that is as before stays the same object. `nodes` are the names of the node that rewrites, as
 * far as they are known: a Service with internalTrafficPolicy Local leads to no other there.
 */
export function openFrontends(): (
  cluster: Cluster,
  nodes: ReadonlySet<string>,
  capacities?: FrontendCapacities,
) => Frontends {
  /** Of each Service; some are claimed by several. */
  const claims = new Map<string, Claim>();
  const claimants = openMultimap<string, string>();
  /** The Services that lead to each address. */
  const leading = openMultimap<string, string>();
  /** Services that select pods and have no slices, by namespace. */
  const unsliced = openMultimap<string, string>();
  /** Namespaces in which these are too many to be compared with the pods. */
  const unguessed = new Set<string>();
  const shares = openFrontendShares();
  /** The hashes of the addresses of each Service whose ports are not known. */
  const closing = new Map<string, Uint32Array>();
  let closed = NOTHING_CLOSED;
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
        for (const pod of [before, after]) {
          if (pod === undefined || unguessed.has(pod.namespace)) continue;
          for (const service of unsliced.get(pod.namespace))
            if (isSelected(next.services.get(service), pod)) touched.add(service);
        }
    return touched;
  };
  /** Keeps `unsliced` and `unguessed`: the Services of a namespace that becomes one of these, or no longer is, are touched. */
  const noteUnsliced = (next: Cluster, touched: Set<string>): void => {
    const slices = slicesByService(next.slices);
    for (const key of touched) {
      const isUnsliced = next.services.get(key)?.selector !== undefined && !slices.has(key);
      if (isUnsliced) unsliced.add(namespaceOf(key), key);
      else unsliced.delete(namespaceOf(key), key);
    }
    for (const namespace of new Set([...unsliced.keys(), ...unguessed])) {
      const own = unsliced.get(namespace);
      const isBeyond = own.length * (podsByNamespace(next.pods).get(namespace)?.size ?? 0) > GUESSES_MAX;
      if (isBeyond === unguessed.has(namespace)) continue;
      if (isBeyond) unguessed.add(namespace);
      else unguessed.delete(namespace);
      for (const key of own) touched.add(key);
    }
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
  const mergedAt = (key: string, union: Union): Frontend | undefined => {
    const each = claimants
      .get(key)
      .toSorted()
      .flatMap((service) => claims.get(service)?.byKey.get(key) ?? []);
    const is = merged(each, union);
    return is === undefined || closed.has(is.address) ? undefined : is;
  };

  /** The frontends at addresses that are closed, or no longer. */
  const close = ({ keys, addresses }: Changed): void => {
    const before = closed;
    closed = closedOf(new Map(closing));
    for (const key of claimants.keys()) {
      const services = claimants.get(key);
      const [claimed] = services.flatMap((service) => claims.get(service)?.byKey.get(key) ?? []);
      if (claimed === undefined || before.has(claimed.address) === closed.has(claimed.address)) continue;
      keys.add(key);
      for (const service of services)
        for (const each of claims.get(service)?.addresses ?? []) addresses.add(each);
    }
  };

  return (next, nodes, capacities = FRONTEND_CAPACITIES) => {
    const names = [...nodes].sort().join(" ");
    const touched = touchedBy(next, names);
    noteUnsliced(next, touched);
    const slices = slicesByService(next.slices);
    /** Kept for one Service alone: of all together they are too large. */
    let known: { readonly key: string; readonly endpoints: Endpoints } | undefined;
    const endpointsOf = (key: string, service: Service): Endpoints => {
      if (known?.key === key) return known.endpoints;
      const own = slices.get(key)?.map(([, slice]) => slice);
      const guessed = (): Endpoints =>
        isUnguessed(key) ? slicedEndpoints([], nodes) : podsBehind(next, service, nodes);
      const endpoints = own === undefined ? guessed() : slicedEndpoints(own, nodes);
      known = { key, endpoints };
      return endpoints;
    };
    const isUnguessed = (key: string): boolean => unguessed.has(namespaceOf(key)) && !slices.has(key);
    for (const key of touched) {
      const service = next.services.get(key);
      shares.set(key, service && sizeOf(service, endpointsOf(key, service)));
    }
    const { refused, unlisted, changed: others, excesses } = shares.update(capacities);
    for (const key of others) touched.add(key);
    const changed: Changed = { keys: new Set(), addresses: new Set() };
    let isClosingOther = false;
    for (const key of [...touched].sort()) {
      const service = next.services.get(key);
      const closes = FAMILIES.filter((family) => service?.exceeds !== undefined || unlisted[family].has(key));
      const hashes = service === undefined ? NO_HASHES : closedBy(service, closes);
      if (!isSameHashes(closing.get(key) ?? NO_HASHES, hashes)) {
        isClosingOther = true;
        if (hashes.length === 0) closing.delete(key);
        else closing.set(key, hashes);
      }
      const isRefused =
        refused.has(key) ||
        (service?.selector !== undefined && isUnguessed(key)) ||
        slices.get(key)?.some(([, slice]) => slice.exceeds) === true;
      const found = (families: readonly Family[]): Frontend[] =>
        service === undefined
          ? []
          : frontendsOfService(service, families, isRefused ? undefined : endpointsOf(key, service));
      claim(key, found(FAMILIES.filter((family) => !closes.includes(family))), changed);
    }
    if (isClosingOther) close(changed);
    const union = openUnion();
    const patch = new Map<string, Frontend | undefined>();
    for (const key of changed.keys) {
      const is = mergedAt(key, union);
      if (is === undefined || !isAs(is, all.get(key))) patch.set(key, is);
    }
    all = patched(all, patch);
    cluster = next;
    here = names;
    return {
      all,
      closed,
      excesses,
      changed: changed.addresses,
      leadingTo(addresses) {
        const services = new Set<string>();
        for (const address of addresses) for (const service of leading.get(address)) services.add(service);
        const keys = services.values().flatMap((service) => claims.get(service)?.byKey.keys() ?? []);
        return new Set(keys.filter((key) => all.has(key)));
      },
    };
  };
}

const addressesOf = (service: Service, family: Family): readonly Address[] =>
  addressesOfService(service).filter((address) => address.family === family);

/** The hashes of a Service's addresses of families; of one whose addresses are not kept, of all. */
const closedBy = (service: Service, families: readonly Family[]): Uint32Array =>
  service.exceeds?.hashes ??
  Uint32Array.from(families.flatMap((family) => addressesOf(service, family)).map(addressHash));

const NO_HASHES = new Uint32Array(0);

const isSameHashes = (a: Uint32Array, b: Uint32Array): boolean =>
  a === b || (a.length === b.length && a.every((each, at) => each === b[at]));

/** Where packets to a frontend may go: to its backends, and where its address may be that of another host, to that one. */
export const judgedIn = (frontend: Frontend): readonly Backend[] =>
  isJudgedAsItself(frontend) ? [...backendsOf(frontend), frontend] : backendsOf(frontend);

/** Nothing that is refused is judged by where it leads to. */
export const isJudgedAsItself = ({ judgedAsItself, refused }: Frontend): boolean =>
  judgedAsItself && refused !== true;

/** The frontends of one Service. */
interface Claim {
  readonly frontends: readonly Frontend[];
  readonly byKey: ReadonlyMap<string, readonly Frontend[]>;
  /** Where packets to any of them may go. */
  readonly addresses: ReadonlySet<string>;
}

const claimOf = (frontends: readonly Frontend[]): Claim => {
  const lists = new Set(frontends.flatMap(({ backends }) => backends.map(({ addresses }) => addresses)));
  const itself = frontends.filter(isJudgedAsItself).map(({ address }) => address);
  return {
    frontends,
    byKey: Map.groupBy(frontends, frontendKey),
    addresses: new Set([...lists, itself].flatMap((list) => list.map(({ text }) => text))),
  };
};

const NO_CLAIM = claimOf([]);

interface Changed {
  readonly keys: Set<string>;
  readonly addresses: Set<string>;
}

/** How much a Service has: its ports at all addresses, and the endpoints at each port. */
function sizeOf(service: Service, endpoints: Endpoints): ServiceSize {
  const ofFamily = (family: Family): FamilySize => {
    const addresses = addressesOf(service, family).length;
    if (addresses === 0) return { frontends: 0, backends: 0 };
    return {
      frontends: service.ports.length * addresses,
      backends: service.ports.reduce((sum, port) => sum + endpoints.count(port, family), 0),
    };
  };
  return { 4: ofFamily(4), 6: ofFamily(6) };
}

/** `endpoints`: undefined where it is refused. */
function frontendsOfService(
  service: Service,
  families: readonly Family[],
  endpoints: Endpoints | undefined,
): Frontend[] {
  return families.flatMap((family) =>
    addressesOf(service, family).length === 0
      ? []
      : service.ports.flatMap((port) => ofPort(service, port, { family, endpoints })),
  );
}

/** Compares two lists once: those of all ports of a Service are the same. */
const isSameList = memo((a: readonly Address[]) =>
  memo(
    (b: readonly Address[]) => a.length === b.length && a.every(({ text }, index) => text === b[index]?.text),
  ),
);

const isAs = (one: Frontend, other: Frontend | undefined): boolean =>
  other !== undefined &&
  frontendKey(one) === frontendKey(other) &&
  one.service === other.service &&
  one.keepsSource === other.keepsSource &&
  one.judgedAsItself === other.judgedAsItself &&
  one.refused === other.refused &&
  one.backends.length === other.backends.length &&
  one.backends.every(({ addresses, port }, index) => {
    const there = other.backends[index];
    return there?.port === port && (there.addresses === addresses || isSameList(addresses)(there.addresses));
  });

function ofPort(
  service: Service,
  port: ServicePort,
  { family, endpoints }: { readonly family: Family; readonly endpoints: Endpoints | undefined },
): Frontend[] {
  const ofFamily = (address: Address): boolean => address.family === family;
  const internal = service.clusterIps.filter(ofFamily);
  const balanced = service.loadBalancerIps.filter(ofFamily);
  const external = service.externalIps.filter(ofFamily);
  if (internal.length + balanced.length + external.length === 0) return [];
  const rest = {
    ...{ service: keyOf(service), protocol: port.protocol, port: port.port },
    ...(endpoints === undefined && ({ refused: true } as const)),
  };
  const all = endpoints?.at(port, family) ?? [];
  const near = service.onlyLocal ? (endpoints?.near(port, family) ?? []) : all;
  const outside = service.onlyLocalOutside === true ? (endpoints?.either(port, family) ?? []) : all;
  return [
    ...internal.map((address) => ({
      ...rest,
      address,
      keepsSource: true,
      judgedAsItself: false,
      backends: near,
    })),
    ...balanced.map((address) => ({
      ...rest,
      address,
      keepsSource: false,
      judgedAsItself: false,
      backends: outside,
    })),
    ...external.map((address) => ({
      ...rest,
      address,
      keepsSource: false,
      judgedAsItself: true,
      backends: outside,
    })),
  ];
}

/** What is behind the ports of a Service. */
interface Endpoints {
  /** Those at a port, in whatever condition. */
  count(port: ServicePort, family: Family): number;
  /** Those that kube-proxy may use. */
  at(port: ServicePort, family: Family): readonly Backends[];
  /** Those that it may use of one node. A node that is not known may be this one. */
  near(port: ServicePort, family: Family): readonly Backends[];
  /** Those of both. */
  either(port: ServicePort, family: Family): readonly Backends[];
}

type Condition = (endpoint: Pick<SliceEndpoint, "ready" | "serving" | "terminating">) => boolean;

const isReady: Condition = ({ ready }) => ready;
/** Used where none is ready. */
const isEnding: Condition = ({ serving, terminating }) => serving && terminating;

/** The nodes whose endpoints count: this one, or all. */
type Scope = "near" | "all";

const openIsNear =
  (nodes: ReadonlySet<string>) =>
  ({ node }: { readonly node?: string }): boolean =>
    node === undefined || nodes.size === 0 || nodes.has(node);

const openIsSurelyNear =
  (nodes: ReadonlySet<string>) =>
  ({ node }: { readonly node?: string }): boolean =>
    node !== undefined && nodes.has(node);

/**
 * What slices have behind a port of their Service: they name ports as it does, and the number is theirs.
 *
 * kube-proxy uses the ready endpoints and, where there are none, those that still serve while they terminate. Which ones it sees as
 * ready is not always certain: of endpoints with the same address and port it takes any, if they are in several slices, and their conditions may
 * differ; and it has its node's name, which slices may not say. So what is used where none is ready counts unless some endpoint is ready
 * for certain.
 */
function slicedEndpoints(slices: readonly EndpointSlice[], nodes: ReadonlySet<string>): Endpoints {
  const nameOf = ({ name, protocol }: Pick<ServicePort, "name" | "protocol">, family: Family): string =>
    `${family} ${protocol} ${name}`;
  const byName = Map.groupBy(
    slices.flatMap((slice, index) => slice.ports.map((port) => ({ slice, index, port }))),
    ({ slice, port }) => nameOf(port, slice.family),
  );
  const isNear = openIsNear(nodes);
  const isSurelyNear = openIsSurelyNear(nodes);
  const endpointsIn = (indexes: readonly number[]): readonly SliceEndpoint[] =>
    indexes.flatMap((index) => (slices[index] as EndpointSlice).endpoints);
  // By slices: ports with the same number in the same ones share what is found.
  const certain = openKept<boolean>();
  const isCertain = (indexes: readonly number[], scope: Scope): boolean =>
    certain(`${scope} ${indexes.join(" ")}`, () => {
      const all = endpointsIn(indexes);
      const isSure = (each: SliceEndpoint): boolean =>
        isReady(each) && (scope === "all" || isSurelyNear(each));
      const unsure = new Set(all.filter((each) => !isSure(each)).map(({ address }) => address.text));
      return all.some(({ address }) => !unsure.has(address.text));
    });
  const lists = openKept<readonly Address[]>();
  const listed = (indexes: readonly number[], scopes: readonly Chosen[]): readonly Address[] =>
    lists(
      `${scopes.map(({ scope, withEnding }) => `${scope} ${withEnding}`).join()} ${indexes.join(" ")}`,
      () =>
        distinct(
          endpointsIn(indexes)
            .filter((each) =>
              scopes.some(
                ({ scope, withEnding }) =>
                  (isReady(each) || (withEnding && isEnding(each))) && (scope === "all" || isNear(each)),
              ),
            )
            .map(({ address }) => address),
        ),
    );
  const chosen = (port: ServicePort, family: Family, scopes: readonly Scope[]): readonly Backends[] => {
    const groups = [...Map.groupBy(byName.get(nameOf(port, family)) ?? [], (each) => each.port.port)].map(
      ([number, own]) => ({ number, indexes: own.map(({ index }) => index) }),
    );
    const all = scopes.map(
      (scope): Chosen => ({
        scope,
        withEnding: !groups.some(({ indexes }) => isCertain(indexes, scope)),
      }),
    );
    return groups.flatMap(({ number, indexes }) => {
      const addresses = listed(indexes, all);
      return addresses.length === 0 ? [] : [{ addresses, port: number }];
    });
  };
  return {
    count: (port, family) =>
      (byName.get(nameOf(port, family)) ?? []).reduce((sum, { slice }) => sum + slice.endpoints.length, 0),
    at: (port, family) => chosen(port, family, ["all"]),
    near: (port, family) => chosen(port, family, ["near"]),
    either: (port, family) => chosen(port, family, ["all", "near"]),
  };
}

interface Chosen {
  readonly scope: Scope;
  /** With those that are used where none is ready. */
  readonly withEnding: boolean;
}

/** Makes what belongs to a key once. */
function openKept<T>(): (key: string, make: () => T) => T {
  const known = new Map<string, { readonly is: T }>();
  return (key, make) => {
    const found = known.get(key) ?? { is: make() };
    known.set(key, found);
    return found.is;
  };
}

const distinct = (addresses: readonly Address[]): readonly Address[] => [
  ...new Map(addresses.map((address) => [address.text, address])).values(),
];

/**
 * What the endpoint controller would write for a Service without slices: manifests on disk rarely have them. Pods count
 * as ready, and host-network pods too.
 */
function podsBehind(cluster: Cluster, service: Service, nodes: ReadonlySet<string>): Endpoints {
  const all = podsByNamespace(cluster.pods).get(service.namespace)?.values() ?? [];
  const pods = [...all].filter((pod) => !pod.finished && isSelected(service, pod));
  const isNear = openIsNear(nodes);
  const known = new Map<
    string,
    readonly { readonly addresses: readonly Address[]; readonly port: number | undefined }[]
  >();
  /** By the number of a name; a port that is a number is put in afterwards. */
  const at = (port: ServicePort, family: Family, isOfNode: boolean): readonly Backends[] => {
    const { target, protocol } = port;
    const key = `${isOfNode} ${family} ${typeof target === "number" ? "" : `${protocol} ${target}`}`;
    const found =
      known.get(key) ??
      [
        ...Map.groupBy(
          pods.filter((pod) => !isOfNode || isNear(pod)),
          (pod) => targetOn(pod, { target, protocol }),
        ),
      ].map(([number, own]) => ({
        port: number,
        addresses: distinct(own.flatMap(({ ips }) => ips.find((each) => each.family === family) ?? [])),
      }));
    known.set(key, found);
    return found.flatMap(({ addresses, port: number }) =>
      number === undefined || addresses.length === 0
        ? []
        : [{ addresses, port: typeof target === "number" ? target : number }],
    );
  };
  return {
    count: (port, family) =>
      at(port, family, false).reduce((sum, { addresses }) => sum + addresses.length, 0),
    at: (port, family) => at(port, family, false),
    near: (port, family) => at(port, family, true),
    // Pods count as ready.
    either: (port, family) => at(port, family, false),
  };
}

const isSelected = (service: Service | undefined, pod: Pod): boolean =>
  service?.selector !== undefined && matches(selectorOf(service.selector), pod.labels);

const selectorOf = memo(
  (labels: Labels): Selector => ({
    requirements: [...labels].map(([key, value]) => ({ operator: "In", key, values: [value] })),
  }),
);

const podsByNamespace = follow<string, Pod, Map<string, Map<string, Pod>>>(
  () => new Map(),
  (found, { key, before, after }) => {
    const namespace = (after ?? before)?.namespace as string;
    const own = found.get(namespace) ?? new Map<string, Pod>();
    if (after === undefined) own.delete(key);
    else own.set(key, after);
    if (own.size === 0) found.delete(namespace);
    else found.set(namespace, own);
  },
);

/** FindPort of k8s.io/kubernetes/pkg/api/v1/pod: a name is that of the first port that the pod declares so. */
function targetOn(
  pod: Pod,
  { target, protocol }: Pick<ServicePort, "target" | "protocol">,
): number | undefined {
  if (typeof target === "number") return target;
  return pod.ports.find((port) => port.name === target && port.protocol === protocol)?.port;
}

/** All addresses of several lists, each once. */
type Union = (lists: readonly (readonly Address[])[]) => readonly Address[];

/** Makes equal unions once. */
function openUnion(): Union {
  const numbers = new Map<readonly Address[], number>();
  const known = new Map<string, readonly Address[]>();
  const numberOf = (list: readonly Address[]): number => {
    const number = numbers.get(list) ?? numbers.size;
    numbers.set(list, number);
    return number;
  };
  return (lists) => {
    const [first, second] = lists;
    if (first !== undefined && second === undefined) return first;
    const key = lists.map(numberOf).join(" ");
    const union = known.get(key) ?? distinct(lists.flat());
    known.set(key, union);
    return union;
  };
}

function merged(all: readonly Frontend[], union: Union): Frontend | undefined {
  const [first, second] = all;
  if (first === undefined || second === undefined) return first;
  const isRefused = all.length > CLAIMANTS_MAX || all.some(({ refused }) => refused === true);
  const backends = [
    ...Map.groupBy(
      all.flatMap((each) => each.backends),
      ({ port }) => port,
    ),
  ].map(([port, own]): Backends => ({ port, addresses: union(own.map(({ addresses }) => addresses)) }));
  return {
    ...first,
    keepsSource: all.every(({ keepsSource }) => keepsSource),
    // A Service's ClusterIP, or its load balancer's address, is not that of another host.
    judgedAsItself: all.every(({ judgedAsItself }) => judgedAsItself),
    backends: isRefused ? [] : backends,
    ...(isRefused && { refused: true }),
  };
}

/**
 * More Services that claim one frontend are refused there: each set of them would have a list of endpoints of its own. It is
 * never needed: kube-proxy takes one of them.
 */
const CLAIMANTS_MAX = 2;

/**
 * Of one namespace, Services without slices times its pods, which each of them may select: beyond that, these Services are refused. An API server
 * has slices for all.
 */
const GUESSES_MAX = 1_000_000;

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
