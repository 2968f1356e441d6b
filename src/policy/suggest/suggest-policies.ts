// From observed flows to the policies that allow them and nothing else: one for each workload that was observed.
//
// What "nothing else" means: of two workloads, a protocol and a port, all connections are allowed if one was seen, and none if
// none was, DNS aside; of addresses outside, each counts by itself. docs/suggest.md has the full text.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { type Address, addressBits, type Cidr, cidrCovers, cidrOf, compareCidrs } from "../../base/ip.ts";
import { holdersOf } from "../../model/address-ownership.ts";
import {
  type Cluster,
  isSelectable,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Pod,
  type Protocol,
} from "../../model/cluster.ts";
import { backendsOf, type Frontend, frontendKey, judgedIn, openFrontends } from "../../model/frontends.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../model/network-policy.ts";
import { PROTOCOLS } from "../../model/protocol.ts";
import type { Selector } from "../../model/selector.ts";
import { addressesOfService } from "../../model/service.ts";
import { policiesOn } from "../subjects.ts";
import { type SelectedWorkload, type SelectedWorkloads, workloadsOf } from "./workload-selectors.ts";

/** One end of a flow, as it was reported. */
export interface FlowEnd {
  /** `namespace/name`; several where it was not certain which. */
  readonly pods: readonly string[];
  readonly address: Address | undefined;
}

/** Connections of one kind that were seen; `port` is what their opener connects to, 1 to 65535. */
export interface ObservedFlow {
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  readonly protocol: Protocol;
  readonly port: number;
  /** The end whose interface they crossed, as a direction: "egress" is `from`. */
  readonly seenAt: Direction;
  readonly count: number;
  /** ISO 8601, in UTC. */
  readonly first: string;
  readonly last: string;
}

export interface SuggestOptions {
  readonly directions: readonly Direction[];
  /** Workloads that get a policy, of those that were observed. */
  readonly isWanted: (workload: SelectedWorkload) => boolean;
  /** Addresses outside: each as it is, or the network around it (/24, /64) where nothing of the cluster is in it. */
  readonly outside: "addresses" | "networks";
  /** Container ports by their names, where all pods of the destination agree. */
  readonly portNames: boolean;
  /** DNS is allowed whether or not it was seen. */
  readonly keepsDns: boolean;
  readonly mode: "enforce" | "audit";
}

/** What a rule is based on. */
export interface Evidence {
  readonly flows: number;
  readonly first: string;
  readonly last: string;
  readonly example: Pick<ObservedFlow, "from" | "to" | "protocol" | "port">;
}

export interface SuggestedPolicy {
  readonly policy: Policy;
  readonly workload: SelectedWorkload;
  /** How many of the workload's pods were seen at their own interface. */
  readonly observed: number;
  /** Of each rule; undefined of one for DNS that was not seen. */
  readonly evidence: { readonly [direction in Direction]: readonly (Evidence | undefined)[] };
  /** Directions in which nothing was seen, and which are isolated since all would have been reported. */
  readonly silent: readonly Direction[];
}

export const UNUSED_REASONS = {
  gone: "of pods that no longer exist, and whose names show no workload",
  ambiguous: "of addresses that several workloads may have had",
  "no-backend": "to Services without backends",
  "refused-service": "to Services beyond their namespace's share, whose backends are not known",
  own: "of a pod to itself",
} as const;

export type UnusedReason = keyof typeof UNUSED_REASONS;

export interface Suggestions {
  readonly policies: readonly SuggestedPolicy[];
  /** How many workloads were observed, those without a policy included. */
  readonly observed: number;
  /** Flows that no rule is made from. */
  readonly unused: ReadonlyMap<UnusedReason, number>;
}

type End =
  | { readonly kind: "workload"; readonly workload: SelectedWorkload; readonly pod: string | undefined }
  | { readonly kind: "outside"; readonly address: Address };

/** Where connections to `port` of an end arrive, and whether they keep their source address. */
interface Target {
  readonly end: End;
  readonly port: number;
  readonly keepsSource: boolean;
}

/** What a rule may be made from: one peer, one port, and the flows that were seen at this end, else at the other one. */
interface Entry {
  readonly end: End;
  readonly protocol: Protocol;
  readonly port: number;
  readonly here?: Evidence;
  readonly there?: Evidence;
}

interface Side {
  readonly workload: SelectedWorkload;
  readonly direction: Direction;
  /** By `entryKey`. */
  readonly entries: Map<string, Entry>;
  /** Pods that were seen at their own interface. */
  readonly pods: Set<string>;
}

export function suggest(
  cluster: Cluster,
  flows: readonly ObservedFlow[],
  options: SuggestOptions,
): Suggestions {
  const workloads = workloadsOf(cluster.pods.values());
  const resolver = openResolver(cluster, workloads);
  const sides = new Map<string, Side>();
  const unused = new Map<UnusedReason, number>();
  const sideOf = (workload: SelectedWorkload, direction: Direction): Side => {
    const key = `${workloadKey(workload)} ${direction}`;
    const side = sides.get(key) ?? { workload, direction, entries: new Map(), pods: new Set() };
    sides.set(key, side);
    return side;
  };
  for (const flow of flows) {
    const skip = (reason: UnusedReason): void => {
      unused.set(reason, (unused.get(reason) ?? 0) + flow.count);
    };
    const from = resolver.end(flow.from);
    const targets = resolver.targets(flow);
    if (typeof from === "string" || typeof targets === "string") {
      skip(typeof from === "string" ? from : (targets as UnusedReason));
      continue;
    }
    for (const { end: to, port, keepsSource } of targets) {
      if (isSamePod(from, to)) {
        skip("own");
        continue;
      }
      const { protocol } = flow;
      if (from.kind === "workload") {
        const side = sideOf(from.workload, "egress");
        add(side, { end: to, protocol, port, ...evidenceOf(flow, "egress") });
        if (flow.seenAt === "egress" && from.pod !== undefined) side.pods.add(from.pod);
      }
      if (to.kind === "workload" && keepsSource) {
        const side = sideOf(to.workload, "ingress");
        add(side, { end: from, protocol, port, ...evidenceOf(flow, "ingress") });
        if (flow.seenAt === "ingress" && to.pod !== undefined) side.pods.add(to.pod);
      }
    }
  }
  const observed = new Set(
    [...sides.values()].flatMap(({ workload, pods }) => (pods.size > 0 ? [workload] : [])),
  );
  const dns = options.keepsDns ? dnsServers(cluster, workloads) : [];
  const names = new Map<string, number>();
  const policies = [...observed]
    .filter(options.isWanted)
    .sort((a, b) => (workloadKey(a) < workloadKey(b) ? -1 : 1))
    .flatMap((workload): SuggestedPolicy[] => {
      const own = DIRECTIONS.filter((direction) => options.directions.includes(direction)).flatMap(
        (direction) => {
          const side = sideOf(workload, direction);
          const isSeen = side.pods.size > 0;
          return isSeen || isReported(cluster, workload, direction) ? [{ ...side, isSeen }] : [];
        },
      );
      return own.length === 0 ? [] : [policyOf(cluster, { workload, sides: own, dns, names }, options)];
    });
  return { policies, observed: observed.size, unused };
}

export const workloadKey = ({ namespace, name }: SelectedWorkload): string => `${namespace}/${name}`;

/** Whether flows of this direction would have been seen, had there been any: policies isolate all of the pods. */
function isReported(cluster: Cluster, { pods }: SelectedWorkload, direction: Direction): boolean {
  const running = pods.filter(isSelectable);
  return running.length > 0 && running.every((pod) => policiesOn(cluster, pod, direction).length > 0);
}

const isSamePod = (from: End, to: End): boolean =>
  from.kind === "workload" && to.kind === "workload" && from.pod !== undefined && from.pod === to.pod;

function evidenceOf(flow: ObservedFlow, direction: Direction): Pick<Entry, "here" | "there"> {
  const { from, to, protocol, port, count, first, last, seenAt } = flow;
  const evidence = { flows: count, first, last, example: { from, to, protocol, port } };
  return seenAt === direction ? { here: evidence } : { there: evidence };
}

function add({ entries }: Side, entry: Entry): void {
  const key = entryKey(entry);
  const known = entries.get(key);
  const [here, there] = [together([known?.here, entry.here]), together([known?.there, entry.there])];
  entries.set(key, { ...entry, ...(here && { here }), ...(there && { there }) });
}

const entryKey = ({ end, protocol, port }: Entry): string => `${endKey(end)} ${protocol}/${port}`;

const endKey = (end: End): string => (end.kind === "workload" ? workloadKey(end.workload) : end.address.text);

const evidenceFor = (entries: readonly Entry[]): Evidence | undefined =>
  together(entries.map(({ here, there }) => here ?? there));

/** The sum of all, with the example of the first. */
function together(all: readonly (Evidence | undefined)[]): Evidence | undefined {
  const [head, ...tail] = all.filter((each) => each !== undefined);
  return tail.reduce<Evidence | undefined>(
    (sum, each) =>
      sum && {
        flows: sum.flows + each.flows,
        first: each.first < sum.first ? each.first : sum.first,
        last: each.last > sum.last ? each.last : sum.last,
        example: sum.example,
      },
    head,
  );
}

// Who the ends are.

interface Resolver {
  end(end: FlowEnd): End | UnusedReason;
  targets(flow: ObservedFlow): readonly Target[] | UnusedReason;
}

function openResolver(cluster: Cluster, workloads: SelectedWorkloads): Resolver {
  const frontends = openFrontends()(cluster, new Set());
  const holders = holdersOf(cluster);
  const known = new Map<string, SelectedWorkload | undefined>();
  const workloadOf = (pod: string): SelectedWorkload | undefined => {
    if (!known.has(pod)) known.set(pod, workloads.of(pod));
    return known.get(pod);
  };
  const ofPods = (pods: readonly string[]): End | UnusedReason => {
    const found = new Set(pods.map(workloadOf));
    const [workload, ...others] = found;
    if (others.length > 0) return "ambiguous";
    const pod = pods.length === 1 ? pods[0] : undefined;
    return workload === undefined ? "gone" : { kind: "workload", workload, pod };
  };
  const atAddress = (address: Address): End | UnusedReason => {
    const held = holders.get(address.text);
    return held === undefined ? { kind: "outside", address } : ofPods(held.pods.map(keyOf));
  };
  const end = ({ pods, address }: FlowEnd): End | UnusedReason => {
    // A pod that is on the host's network now is an address.
    if (pods.length > 0 && !pods.some((pod) => cluster.pods.get(pod)?.hostNetwork === true))
      return ofPods(pods);
    return address === undefined ? "gone" : atAddress(address);
  };
  const backends = (frontend: Frontend): readonly Target[] | UnusedReason => {
    if (backendsOf(frontend).every(({ address }) => typeof atAddress(address) === "string"))
      return "no-backend";
    return judgedIn(frontend).flatMap(({ address, port }): Target[] => {
      const at = atAddress(address);
      return typeof at === "string" ? [] : [{ end: at, port, keepsSource: frontend.keepsSource }];
    });
  };
  return {
    end,
    targets({ to, protocol, port, seenAt }) {
      if (seenAt === "egress" && to.pods.length === 0 && to.address !== undefined) {
        const frontend = frontends.all.get(frontendKey({ address: to.address, protocol, port }));
        if (frontend?.refused === true || frontends.closed.has(to.address)) return "refused-service";
        if (frontend !== undefined) return backends(frontend);
      }
      const at = end(to);
      return typeof at === "string" ? at : [{ end: at, port, keepsSource: true }];
    },
  };
}

// DNS.

const DNS_NAMESPACE = "kube-system";
/** OpenShift's pods use 5353. */
const DNS_PORTS = [53, 5353];

/** What answers DNS, and on which port. */
interface DnsServer {
  readonly of: SelectedWorkload | Peer;
  readonly port: number;
}

/** As kubeadm and most other installers label the cluster's DNS, where its pods are not known. */
const USUAL_DNS: DnsServer = {
  port: 53,
  of: podsPeer("", {
    namespace: DNS_NAMESPACE,
    selector: { requirements: [{ operator: "In", key: "k8s-app", values: ["kube-dns"] }] },
  }),
};

function dnsServers({ pods }: Cluster, workloads: SelectedWorkloads): readonly DnsServer[] {
  const own = [...pods.values()].filter(({ namespace }) => namespace === DNS_NAMESPACE);
  const servers = own.filter(isSelectable).flatMap((pod): (readonly [string, DnsServer])[] => {
    const declared = pod.ports.find(({ port, protocol }) => protocol === "UDP" && DNS_PORTS.includes(port));
    const workload = workloads.of(keyOf(pod));
    if (declared === undefined || workload === undefined) return [];
    return [[`${workloadKey(workload)} ${declared.port}`, { of: workload, port: declared.port }]];
  });
  if (servers.length > 0) return [...new Map(servers).values()];
  return own.length > 0 ? [] : [USUAL_DNS];
}

// The policies.

interface Subject {
  readonly workload: SelectedWorkload;
  readonly sides: readonly (Side & { readonly isSeen: boolean })[];
  readonly dns: readonly DnsServer[];
  /** Names that are taken, by namespace and name. */
  readonly names: Map<string, number>;
}

function policyOf(cluster: Cluster, subject: Subject, options: SuggestOptions): SuggestedPolicy {
  const { workload, sides, dns, names } = subject;
  const made = { ingress: [] as readonly RuleWithEvidence[], egress: [] as readonly RuleWithEvidence[] };
  for (const side of sides) made[side.direction] = rulesOf(cluster, { side, dns }, options);
  const has = (direction: Direction): boolean => sides.some((side) => side.direction === direction);
  return {
    workload,
    observed: new Set(sides.flatMap(({ pods }) => [...pods])).size,
    silent: sides.filter(({ isSeen }) => !isSeen).map(({ direction }) => direction),
    policy: {
      namespace: workload.namespace,
      name: policyName(workload, names),
      subject: workload.selector,
      isolates: { ingress: has("ingress"), egress: has("egress") },
      rules: {
        ingress: made.ingress.map(({ rule }) => rule),
        egress: made.egress.map(({ rule }) => rule),
      },
      ...(options.mode === "audit" ? { mode: options.mode } : {}),
    },
    evidence: {
      ingress: made.ingress.map(({ evidence }) => evidence),
      egress: made.egress.map(({ evidence }) => evidence),
    },
  };
}

/** Objects' names have at most 253 characters, lower case. */
const NAME_LENGTH = 230;

function policyName({ namespace, name }: SelectedWorkload, names: Map<string, number>): string {
  const plain = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .slice(0, NAME_LENGTH)
    .replaceAll(/^-+|-+$/g, "");
  const text = `suggested-${plain || "pods"}`;
  const key = `${namespace}/${text}`;
  const taken = names.get(key) ?? 0;
  names.set(key, taken + 1);
  return taken === 0 ? text : `${text}.${taken + 1}`;
}

interface RuleWithEvidence {
  readonly rule: Rule;
  readonly evidence: Evidence | undefined;
}

/** A peer with all that it may do. */
interface PeerPorts {
  readonly peer: Peer;
  readonly ports: readonly PortMatch[];
  readonly evidence?: Evidence | undefined;
}

function rulesOf(
  cluster: Cluster,
  { side, dns }: { readonly side: Side; readonly dns: readonly DnsServer[] },
  options: SuggestOptions,
): readonly RuleWithEvidence[] {
  const { workload, direction } = side;
  const entries = new Map(side.entries);
  const assumed: PeerPorts[] = [];
  for (const { of: server, port } of direction === "egress" ? dns : []) {
    const protocols = ["TCP", "UDP"] as const;
    if ("kind" in server) {
      assumed.push({ peer: server, ports: protocols.map((protocol) => range(protocol, port, port)) });
      continue;
    }
    const end: End = { kind: "workload", workload: server, pod: undefined };
    for (const protocol of protocols) {
      const entry: Entry = { end, protocol, port };
      if (!entries.has(entryKey(entry))) entries.set(entryKey(entry), entry);
    }
  }
  const peers = [...workloadPeers(workload, direction, [...entries.values()], options), ...assumed];
  const blocks = blockPeers(cluster, [...entries.values()], options);
  return [...Map.groupBy([...peers, ...blocks], ({ ports }) => portsText(ports)).values()].map(
    (alike): RuleWithEvidence => {
      const [{ ports } = { ports: [] }] = alike;
      return {
        rule: { peers: alike.map(({ peer }) => peer), ports },
        evidence: together(alike.map(({ evidence }) => evidence)),
      };
    },
  );
}

function workloadPeers(
  own: SelectedWorkload,
  direction: Direction,
  entries: readonly Entry[],
  { portNames }: SuggestOptions,
): readonly PeerPorts[] {
  const toWorkloads = entries.flatMap((entry) =>
    entry.end.kind === "workload" ? [{ ...entry, workload: entry.end.workload }] : [],
  );
  return [...Map.groupBy(toWorkloads, ({ workload }) => workloadKey(workload))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, all]): PeerPorts => {
      const [{ workload } = { workload: own }] = all;
      const destination = direction === "ingress" ? own : workload;
      return {
        peer: podsPeer(own.namespace, workload),
        ports: portsOf(all, portNames ? destination.pods : []),
        evidence: evidenceFor(all),
      };
    });
}

function podsPeer(
  from: string,
  { namespace, selector }: Pick<SelectedWorkload, "namespace" | "selector">,
): Peer {
  const named: Selector = {
    requirements: [{ operator: "In", key: NAMESPACE_NAME_LABEL, values: [namespace] }],
  };
  return { kind: "pods", namespaces: namespace === from ? undefined : named, pods: selector };
}

const range = (protocol: Protocol, first: number, last: number): PortMatch => ({
  ...{ kind: "range", protocol, first, last },
});

/** Consecutive ports from this many on are one range. */
const RANGE_MIN = 3;

/** Ports as a rule names them: by name where all of the destination's pods give one name to the port and to no other. */
function portsOf(
  all: readonly Pick<Entry, "protocol" | "port">[],
  destination: readonly Pod[],
): readonly PortMatch[] {
  return PROTOCOLS.flatMap((protocol) => {
    const numbers = [
      ...new Set(all.filter((each) => each.protocol === protocol).map(({ port }) => port)),
    ].sort((a, b) => a - b);
    const names = new Map(numbers.map((port) => [port, nameOf(destination, protocol, port)]));
    const named = numbers.flatMap((port): PortMatch[] => {
      const name = names.get(port);
      return name === undefined ? [] : [{ kind: "name", protocol, name }];
    });
    const runs: [number, number][] = [];
    for (const port of numbers.filter((each) => names.get(each) === undefined)) {
      const run = runs.at(-1);
      if (run !== undefined && run[1] + 1 === port) run[1] = port;
      else runs.push([port, port]);
    }
    const ranges = runs.flatMap(([first, last]) =>
      last - first + 1 >= RANGE_MIN
        ? [range(protocol, first, last)]
        : Array.from({ length: last - first + 1 }, (_, at) => range(protocol, first + at, first + at)),
    );
    return [...named, ...ranges];
  });
}

function nameOf(pods: readonly Pod[], protocol: Protocol, port: number): string | undefined {
  const [first] = pods;
  return first?.ports
    .filter((each) => each.protocol === protocol && each.port === port)
    .map(({ name }) => name)
    .find(
      (name) =>
        name !== undefined &&
        pods.every(({ ports }) => {
          const own = ports.filter((each) => each.name === name && each.protocol === protocol);
          return own.length > 0 && own.every((each) => each.port === port);
        }),
    );
}

const portsText = (ports: readonly PortMatch[]): string => ports.map((port) => JSON.stringify(port)).join();

// Addresses outside.

const NETWORK_LENGTHS = { 4: 24, 6: 64 } as const;

interface BlockEntry extends Entry {
  readonly cidr: Cidr;
}

function blockPeers(
  cluster: Cluster,
  entries: readonly Entry[],
  { outside }: SuggestOptions,
): readonly PeerPorts[] {
  const inside = outside === "networks" ? addressesInside(cluster) : [];
  const blockOf = (address: Address): Cidr => {
    const { family, value } = address;
    const network = cidrOf(family, value, NETWORK_LENGTHS[family]);
    const isForeign = outside === "networks" && !inside.some((each) => overlaps(network, each));
    return isForeign ? network : cidrOf(family, value, addressBits(family));
  };
  const all = entries.flatMap((entry): BlockEntry[] =>
    entry.end.kind === "outside" ? [{ ...entry, cidr: blockOf(entry.end.address) }] : [],
  );
  const byBlock = [...Map.groupBy(all, ({ cidr }) => cidr.text).values()].map((own) => ({
    cidr: (own[0] as BlockEntry).cidr,
    ports: portsOf(own, []),
    evidence: evidenceFor(own),
  }));
  return [...Map.groupBy(byBlock, ({ ports }) => portsText(ports)).values()].flatMap((alike) =>
    aggregated(alike.map(({ cidr }) => cidr)).map((cidr): PeerPorts => {
      const parts = alike.filter((each) => cidrCovers(cidr, each.cidr));
      return {
        peer: { kind: "block", cidr, except: [] },
        ports: parts[0]?.ports ?? [],
        evidence: together(parts.map(({ evidence }) => evidence)),
      };
    }),
  );
}

const overlaps = (a: Cidr, b: Cidr): boolean => cidrCovers(a, b) || cidrCovers(b, a);

/** All that a network must not take in: pods, nodes and Services. */
const addressesInside = ({ pods, nodes, services }: Cluster): readonly Cidr[] => {
  const addresses = [
    ...[...pods.values()].flatMap(({ ips }) => ips),
    ...[...(nodes?.values() ?? [])].flatMap((node) => node.addresses),
    ...[...services.values()].flatMap(addressesOfService),
  ];
  return [
    ...addresses.map(({ family, value }) => cidrOf(family, value, addressBits(family))),
    ...[...(nodes?.values() ?? [])].flatMap(({ podCidrs }) => podCidrs),
  ];
};

/** The fewest prefixes that hold exactly the same addresses. */
function aggregated(cidrs: readonly Cidr[]): readonly Cidr[] {
  const result: Cidr[] = [];
  for (const cidr of [...cidrs].sort(compareCidrs)) {
    result.push(cidr);
    for (;;) {
      const [lower, upper] = result.slice(-2);
      if (lower === undefined || upper === undefined || lower.length !== upper.length) break;
      if (lower.length === 0 || lower.family !== upper.family) break;
      const parent = cidrOf(lower.family, lower.value, lower.length - 1);
      if (parent.value !== lower.value || !cidrCovers(parent, upper) || lower.value === upper.value) break;
      result.splice(-2, 2, parent);
    }
  }
  return result;
}
