// The desired state of the datapath as plain data: what every kernel map should hold, in numbers and canonical texts; and
// its JSON form.

import { CLOSED_FILTER_WORDS, type FilterWords, NO_WORDS } from "../base/address-filter.ts";
import type { Direction } from "../base/direction.ts";
import type { Family } from "../base/ip.ts";

/** Identity 0: no live term matches the address. Its cell in a policy holds the row of every identity not listed. */
export const IDENTITY_DEFAULT = 0;

/**
 * In a value of `addresses`, in addition to the identity: ports of this address may be those of a Service, so packets that pods
 * send there are looked up in `services` first.
 */
export const IDENTITY_FRONTEND = 0x4000_0000;

export const isFrontend = (value: number): boolean => (value & IDENTITY_FRONTEND) !== 0;

/** The identity in a value of `addresses`. */
export const identityIn = (value: number): number => value & ~IDENTITY_FRONTEND;

/**
 * Rows with a fixed meaning: 0 allows nothing, and in a cell it means that the cell of IDENTITY_DEFAULT applies; 1 allows
 * every protocol and port; 2 allows nothing, regardless of that cell.
 */
export const ROW_NOTHING = 0;
export const ROW_ALL = 1;
export const ROW_NONE = 2;

/** Class 0: the ports that no live row except ROW_ALL contains. */
export const CLASS_OTHER = 0;

/** Policy 0: not isolated in that direction. */
export const POLICY_NONE = 0;

/** Bit of an endpoint's policy number: what the policy denies passes, and is reported. */
export const POLICY_AUDIT = 0x8000_0000;

export const isAudited = (policy: number): boolean => policy >= POLICY_AUDIT;

/** Bit of an endpoint's egress policy number: addresses that the pod has resolved are looked up in `names`. */
export const POLICY_NAMES = 0x4000_0000;

export const usesNames = (policy: number): boolean => (policy & POLICY_NAMES) !== 0;

/** The number without those bits: a key of `policies`, or POLICY_NONE. */
export const policyNumber = (policy: number): number => policy & (POLICY_NAMES - 1);

/**
 * The port line: TCP's ports, then UDP's, then SCTP's, 65,536 each, then one place for every other protocol (ICMP
 * included), which only rules without ports contain. A set of ports is a list of spans on it.
 */
export const PORTS_PER_PROTOCOL = 65_536;
export const PORT_LINE_OTHER = 3 * PORTS_PER_PROTOCOL;
export const PORT_LINE_SIZE = PORT_LINE_OTHER + 1;

/** Places first to last of the port line, inclusive. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

export interface ClassSpan extends Span {
  readonly class: number;
}

/** Incarnations of pods: from 1 to this minus 1, 24 bits (`owner` of flow_v4_key in bpf/layout.h). No pod has 0. */
export const INCARNATIONS = 2 ** 24;
export const NO_INCARNATION = 0;

export interface Endpoint {
  /** Small number of the endpoint on this node: index of its counters. From 1; 0 is "unknown". */
  readonly id: number;
  /** Incarnation of the pod, the same at all its interfaces: its flows are keyed by it. */
  readonly incarnation: number;
  /** The pod's own addresses, canonical text, sorted; at most OWN_ADDRESSES_MAX of each family. */
  readonly addresses: readonly string[];
  /** Further prefixes from which it may send, canonical text, sorted; none covers another. */
  readonly sources: readonly string[];
  /** Number of the policy in each direction, or POLICY_NONE; with POLICY_AUDIT if it only reports. */
  readonly policy: { readonly [direction in Direction]: number };
  /** What is known about its link; absent if nothing is. */
  readonly link?: EndpointLink;
  /** See tenantOf; absent: 0. */
  readonly tenant?: number;
}

/** TENANTS in bpf/layout.h. */
export const TENANTS = 64;

/**
 * The number of a namespace among those that share the flow table: a hash (FNV-1a), so that it is the same on every node and after every
 * restart. Namespaces with the same number share one quota of places.
 */
export function tenantOf(namespace: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(namespace)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return ((hash ^ (hash >>> 16)) >>> 0) % TENANTS;
}

/** The required properties of the pod's end of the link, and the bridge of the node's end. */
export interface EndpointLink {
  /** MAC addresses from which the pod may send, its own first; at most HARDWARE_MAX. NO_HARDWARE (base/mac-address.ts) if there is none. */
  readonly hardware: readonly string[];
  /** Interface index of the bridge that has the node's end as a port; absent if the link is routed. */
  readonly bridge?: number;
  /** Id, in the node's network namespace, of the one at the other end; absent if unknown. */
  readonly netns?: number;
}

/** ENDPOINT_HARDWARE in bpf/layout.h. */
export const HARDWARE_MAX = 8;

const NO_LINK: EndpointLink = { hardware: [] };

export function sameLink(a: EndpointLink = NO_LINK, b: EndpointLink = NO_LINK): boolean {
  return a.bridge === b.bridge && a.netns === b.netns && a.hardware.join() === b.hardware.join();
}

/**
 * Every number has one meaning for as long as any map refers to it: an identity is a set of terms, a class is a set of
 * ports, a row is a set of ports too, a policy is a list of rules. See docs/compiler.md.
 */
export interface State {
  /** By interface index of the host-side link. */
  readonly endpoints: ReadonlyMap<number, Endpoint>;
  /**
   * Prefixes of other scopes than an endpoint's, canonical text, sorted; none covers another: under NODE_SCOPE the addresses of
   * nodes, under a bridge's interface index what is on its link.
   */
  readonly scopes: ReadonlyMap<number, readonly string[]>;
  /** UDP ports on which nodes decapsulate, sorted; at most TUNNEL_PORTS_MAX. */
  readonly tunnelPorts: readonly number[];
  /** Address of a pod or Service (canonical text) to identity, with IDENTITY_FRONTEND for a Service. */
  readonly addresses: ReadonlyMap<string, number>;
  /**
   * Addresses of Services whose ports are not known, as a Bloom filter. What is in it and not in `addresses` has the identity that is there for
   * closedKey() of its family.
   */
  readonly closed: FilterWords;
  /** Frontend of a Service (see serviceKey) to identity. */
  readonly services: ReadonlyMap<string, number>;
  /** Prefix (canonical text) to identity. */
  readonly cidrs: ReadonlyMap<string, number>;
  /** Sorted, disjoint; places in no span are of CLASS_OTHER. */
  readonly ports: readonly ClassSpan[];
  /** Row to the classes that it allows, sorted. Rows with a fixed meaning are not listed. */
  readonly rows: ReadonlyMap<number, readonly number[]>;
  /** Policy and domain name of a rule (see nameKey) to the policy that applies, in its place, to addresses resolved from that name. */
  readonly names: ReadonlyMap<string, number>;
  /** Policy to (identity to row). Only cells that differ from the cell of IDENTITY_DEFAULT, and that one if not ROW_NOTHING. */
  readonly policies: ReadonlyMap<number, ReadonlyMap<number, number>>;
}

/** No interface has this index. */
export const NODE_SCOPE = 0;

export const EMPTY_STATE: State = {
  endpoints: new Map(),
  scopes: new Map(),
  tunnelPorts: [],
  addresses: new Map(),
  closed: NO_WORDS,
  services: new Map(),
  cidrs: new Map(),
  ports: [],
  rows: new Map(),
  names: new Map(),
  policies: new Map(),
};

/**
 * The maximum number of entries of each kind in a state; of addresses, services, cidrs and sources in each family. If a cluster
 * needs more, policy/limits divides the capacity and leaves out the rest. The kernel's tables have twice the capacity if an
 * update adds the new entries before it removes the old ones (src/datapath/layout-checks.ts compares the two).
 */
export const LIMITS = {
  endpoints: 1_023,
  sources: 32_768,
  addresses: 131_072,
  services: 65_536,
  cidrs: 262_144,
  /** Distinct sets of terms. */
  identities: 65_536,
  /** Distinct sets of backends, which have identities too. */
  serviceGroups: 32_768,
  /** Twice the endpoints always fit; what is left is for rules by domain names. */
  policies: 2_047,
  /** Domain names of rules, and these for each policy. */
  domains: 8_192,
  names: 65_536,
  rows: 4_093,
  classes: 4_095,
} as const;

/**
 * How many numbers each table has. A number that falls out of use is free only when the kernel no longer holds it, so an update needs
 * numbers for the old and the new entries. For rows and classes, whose tables would have to be twice the size, see `isTransitional`
 * in policy/compile.ts.
 */
export const NUMBERS = {
  endpoints: LIMITS.endpoints,
  identities: 2 * (LIMITS.identities + LIMITS.serviceGroups),
  policies: 2 * LIMITS.policies + 1,
  rows: LIMITS.rows,
  classes: LIMITS.classes,
} as const;

/** Key in `names`: an egress policy, and a rule's name in canonical text. */
export const nameKey = (policy: number, name: string): string => `${policy} ${name}`;

/** Both parts of a key of `names`. */
export function nameFrom(key: string): { readonly policy: number; readonly name: string } {
  const [policy, name = ""] = key.split(" ");
  return { policy: Number(policy), name };
}

/** The domain names in keys of `names`. */
export const domainsOf = (names: State["names"]): ReadonlySet<string> =>
  new Set(
    names
      .keys()
      .map((key) => nameFrom(key).name)
      .filter((name) => name !== NO_NAME),
  );

/** In the place of a name: the policy that judges which resolvers a pod may ask. */
export const NO_NAME = "";

/** Key of a frontend in `services`: its address and its port's place on the port line. */
export const serviceKey = (address: string, place: number): string => `${address} ${place}`;

/** The address in `addresses` whose identity those in `closed` have: no host's. CLOSED_V4 in bpf/policy.h. */
export const closedKey = (family: Family): string => (family === 4 ? "0.0.0.1" : "::");

/** Both parts of a key of `services`. */
export function serviceFrom(key: string): { readonly address: string; readonly place: number } {
  const [address = "", place] = key.split(" ");
  return { address, place: Number(place) };
}

/** Addresses of one family that fit in an endpoint's entry (ENDPOINT_ADDRESSES in bpf/layout.h); further ones are `sources`. */
export const OWN_ADDRESSES_MAX = 4;

/** TUNNEL_PORTS in bpf/layout.h. */
export const TUNNEL_PORTS_MAX = 32;

export type LimitName = keyof typeof LIMITS;

type Pairs<K, V> = readonly (readonly [K, V])[];

/** Same fields as State. */
export interface PlainState {
  readonly endpoints: Pairs<number, Endpoint>;
  readonly scopes: Pairs<number, readonly string[]>;
  readonly tunnelPorts: readonly number[];
  readonly addresses: Pairs<string, number>;
  /** The words that are not 0, with their indexes. */
  readonly closed: Pairs<number, number>;
  readonly services: Pairs<string, number>;
  readonly cidrs: Pairs<string, number>;
  readonly ports: readonly ClassSpan[];
  readonly rows: Pairs<number, readonly number[]>;
  readonly names: Pairs<string, number>;
  readonly policies: Pairs<number, Pairs<number, number>>;
}

export const plainState = (state: State): PlainState => ({
  endpoints: [...state.endpoints],
  scopes: [...state.scopes],
  tunnelPorts: state.tunnelPorts,
  addresses: [...state.addresses],
  closed: [...state.closed.entries()].filter(([, word]) => word !== 0),
  services: [...state.services],
  cidrs: [...state.cidrs],
  ports: state.ports,
  rows: [...state.rows],
  names: [...state.names],
  policies: [...state.policies].map(([number, cells]) => [number, [...cells]]),
});

export const stateFrom = (plain: PlainState): State => ({
  endpoints: new Map(plain.endpoints),
  scopes: new Map(plain.scopes),
  tunnelPorts: plain.tunnelPorts,
  addresses: new Map(plain.addresses),
  closed: closedFrom(plain.closed),
  services: new Map(plain.services),
  cidrs: new Map(plain.cidrs),
  ports: plain.ports,
  rows: new Map(plain.rows),
  names: new Map(plain.names),
  policies: new Map(plain.policies.map(([number, cells]) => [number, new Map(cells)])),
});

function closedFrom(pairs: PlainState["closed"]): FilterWords {
  if (pairs.length === 0) return NO_WORDS;
  const words = new Uint32Array(CLOSED_FILTER_WORDS);
  for (const [at, word] of pairs) words[at] = word;
  return words;
}
