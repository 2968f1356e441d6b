// The diff from actual to desired state, as two batches of plain writes around one flip.
//
// Values that packets look up have two versions; the generation's lowest bit selects the active one. `prepare` writes
// the inactive version (and new keys, whose active version gets the value that applied without them), then one write of
// the generation activates all of it at once, then `cleanup` makes both versions equal and removes what is left over. So
// every packet sees the old state or the new one as a whole. See docs/datapath.md.

import { type FilterWords, sameWords, unionOf } from "../base/address-filter.ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { mostSpecific, patternsOf } from "../base/domain-name.ts";
import type { PrefixTable } from "../base/prefix-table.ts";
import { changesBetween, overlaid } from "../base/versioned-map.ts";
import { type SourceKey, type SourceWrite, sourceChanges } from "./anti-spoofing.ts";
import {
  CLASS_OTHER,
  type ClassSpan,
  domainsOf,
  type Endpoint,
  IDENTITY_DEFAULT,
  nameFrom,
  nameKey,
  POLICY_NONE,
  PORT_LINE_SIZE,
  type Span,
  type State,
  sameLink,
} from "./desired-state.ts";
import { cidrFrom, cidrTable } from "./state-lookup.ts";

/** The actual state, as read from the kernel. */
export interface Held {
  readonly state: State;
  /** The last incarnation assigned, also to a pod that is gone; undefined if it was not read. */
  readonly lastIncarnation?: number;
  /** Keys whose two versions differ after an interrupted update. They are always written again. */
  readonly unsettled: {
    readonly addresses: ReadonlySet<string>;
    readonly services: ReadonlySet<string>;
    readonly cidrs: ReadonlySet<string>;
    readonly names: ReadonlySet<string>;
    /** Domain names without which or with which the kernel's table of names is not that of `names`. */
    readonly domains: ReadonlySet<string>;
    readonly endpoints: ReadonlySet<number>;
    /** Entries of all scopes, also those that allow nothing in either version. */
    readonly sources: readonly SourceKey[];
    /** Policies whose rows cannot be read. */
    readonly policies: ReadonlySet<number>;
    readonly ports: boolean;
    readonly tunnelPorts: boolean;
  };
}

/** The actual state that is equal to a given state, after an uninterrupted update. */
export const settledState = (state: State): Held => ({
  state,
  unsettled: {
    addresses: new Set(),
    services: new Set(),
    cidrs: new Set(),
    names: new Set(),
    domains: new Set(),
    endpoints: new Set(),
    sources: [],
    policies: new Set(),
    ports: false,
    tunnelPorts: false,
  },
});

/** In `addresses`, `services` and `names`: not there in this version. */
export const ABSENT = "absent";

export type PolicyPair = { readonly [direction in Direction]: number };

export interface EndpointWrite {
  readonly ifindex: number;
  readonly endpoint: Endpoint;
  readonly policy: Versions<PolicyPair>;
  /** Whether packets must be looked up in `sources`, in either version. */
  readonly moreSources: boolean;
}

export interface PolicyWrite {
  readonly number: number;
  /** The whole content. */
  readonly cells: ReadonlyMap<number, number>;
  /** The cells that the kernel does not hold yet; all of them if the policy is new. */
  readonly changed: readonly number[];
  readonly isNew: boolean;
}

export interface Batch {
  readonly rows: readonly { readonly number: number; readonly classes: readonly number[] }[];
  readonly policies: readonly PolicyWrite[];
  readonly ports: readonly PortChange[];
  readonly cidrs: readonly { readonly cidr: string; readonly identity: Versions<number> }[];
  readonly addresses: readonly {
    readonly address: string;
    readonly identity: Versions<number | typeof ABSENT>;
  }[];
  /** One entry if words change: what the kernel holds, and is to hold. */
  readonly closed: readonly { readonly from: FilterWords; readonly to: FilterWords }[];
  readonly services: readonly {
    readonly frontend: string;
    readonly identity: Versions<number | typeof ABSENT>;
  }[];
  readonly names: readonly {
    readonly key: string;
    readonly policy: Versions<number | typeof ABSENT>;
  }[];
  /** Domain names that the table of names must have. */
  readonly domains: readonly string[];
  readonly sources: readonly SourceWrite[];
  /** One entry if they change. */
  readonly tunnelPorts: readonly Versions<readonly number[]>[];
  readonly endpoints: readonly EndpointWrite[];
  readonly remove: {
    readonly endpoints: readonly number[];
    readonly sources: readonly SourceKey[];
    readonly addresses: readonly string[];
    readonly services: readonly string[];
    readonly cidrs: readonly string[];
    readonly domains: readonly RemovedDomain[];
    readonly names: readonly string[];
    readonly policies: readonly number[];
    readonly rows: readonly number[];
  };
}

/** A domain name that no rule has any more. */
export interface RemovedDomain {
  readonly name: string;
  /** The next less specific name, if rules have one: what pods have resolved by the removed name is known by this one from now on. */
  readonly heir?: string;
}

export interface Changes {
  readonly prepare: Batch;
  readonly cleanup: Batch;
  /** Nothing to do at all: no flip either. */
  readonly empty: boolean;
  /**
   * Set if nothing but the identities of addresses changes: both versions of each can be written at once, without a flip. A packet
   * is judged by one of them, so it gets the verdict that the old or the new state gives.
   */
  readonly inPlace?: Batch;
}

const REMOVE_NOTHING: Batch["remove"] = {
  endpoints: [],
  sources: [],
  addresses: [],
  services: [],
  cidrs: [],
  domains: [],
  names: [],
  policies: [],
  rows: [],
};

/** The changes from `held` to `want`. Pure; its result depends on nothing else. */
export function diff(held: Held, want: State): Changes {
  const have = held.state;
  const rows = rowChanges(have, want);
  const policies = policyChanges(held, want);
  const ports = portChanges(have.ports, want.ports, held.unsettled.ports);
  const cidrs = cidrChanges(held, want);
  const addresses = mayBeAbsent(have.addresses, want.addresses, held.unsettled.addresses).map(
    ({ key, identity }) => ({ address: key, identity }),
  );
  const services = mayBeAbsent(have.services, want.services, held.unsettled.services).map(
    ({ key, identity }) => ({ frontend: key, identity }),
  );
  /** Bits have no versions: until the flip the kernel has those of both. */
  const either = unionOf(have.closed, want.closed);
  const names = nameChanges(held, want);
  const domains = domainChanges(held, want);
  const endpoints = endpointChanges(held, want);
  const changed = endpoints.map(({ ifindex }) => ifindex);
  const sources = sourceChanges(have, want, { changed, leftovers: held.unsettled.sources });
  const tunnelPorts =
    held.unsettled.tunnelPorts || !sameList(have.tunnelPorts, want.tunnelPorts)
      ? [{ live: have.tunnelPorts, next: want.tunnelPorts }]
      : [];
  const prepare: Batch = {
    rows: rows.prepare,
    policies: policies.prepare,
    ports,
    cidrs,
    addresses,
    closed: closedChange(have.closed, either),
    services,
    names,
    domains: domains.add,
    sources: sources.prepare,
    tunnelPorts,
    endpoints,
    remove: REMOVE_NOTHING,
  };
  const gone = <K>(before: ReadonlyMap<K, unknown>, after: ReadonlyMap<K, unknown>): K[] =>
    before === after ? [] : [...before.keys()].filter((key) => !after.has(key));
  const cleanup: Batch = {
    rows: rows.cleanup,
    policies: policies.cleanup,
    ports: ports.map((span) => ({ ...span, live: span.next })),
    cidrs: cidrs
      .filter(({ cidr }) => want.cidrs.has(cidr))
      .map(({ cidr, identity }) => ({ cidr, identity: settled(identity) })),
    addresses: addresses
      .filter(({ address }) => want.addresses.has(address))
      .map(({ address, identity }) => ({ address, identity: settled(identity) })),
    closed: closedChange(either, want.closed),
    services: services
      .filter(({ frontend }) => want.services.has(frontend))
      .map(({ frontend, identity }) => ({ frontend, identity: settled(identity) })),
    names: names
      .filter(({ key }) => want.names.has(key))
      .map(({ key, policy }) => ({ key, policy: settled(policy) })),
    domains: [],
    sources: sources.cleanup,
    tunnelPorts: tunnelPorts.map((ports) => settled(ports)),
    endpoints: endpoints.map((write) => ({
      ...write,
      policy: settled(write.policy),
      moreSources: write.endpoint.sources.length > 0,
    })),
    remove: {
      endpoints: gone(have.endpoints, want.endpoints),
      sources: sources.remove,
      addresses: addresses.map(({ address }) => address).filter((address) => !want.addresses.has(address)),
      services: services.map(({ frontend }) => frontend).filter((frontend) => !want.services.has(frontend)),
      cidrs: cidrs.map(({ cidr }) => cidr).filter((cidr) => !want.cidrs.has(cidr)),
      domains: domains.remove,
      names: names.map(({ key }) => key).filter((key) => !want.names.has(key)),
      policies: gone(have.policies, want.policies),
      rows: gone(have.rows, want.rows),
    },
  };
  const changes = { prepare, cleanup, empty: isEmpty(prepare) && isEmpty(cleanup) };
  const isInPlace = !changes.empty && ofAddressesOnly(prepare) && ofAddressesOnly(cleanup);
  return isInPlace ? { ...changes, inPlace: cleanup } : changes;
}

const ofAddressesOnly = (batch: Batch): boolean =>
  isEmpty({ ...batch, addresses: [], remove: { ...batch.remove, addresses: [] } });

const settled = <T>({ next }: Versions<T>): Versions<T> => ({ live: next, next });

function isEmpty(batch: Batch): boolean {
  const { remove, ...writes } = batch;
  return [...Object.values(writes), ...Object.values(remove)].every((list) => list.length === 0);
}

/**
 * Rows keep the bits of the active classes until the flip. A class number never changes its meaning while it
 * is active, so the combined bits are right for both versions.
 */
function rowChanges(have: State, want: State) {
  if (have.rows === want.rows) return { prepare: [], cleanup: [] };
  const inForce = new Set(have.ports.map((span) => span.class));
  const prepare: Batch["rows"][number][] = [];
  const cleanup: Batch["rows"][number][] = [];
  for (const [number, classes] of want.rows) {
    const before = have.rows.get(number);
    const both = [...new Set([...classes, ...(before ?? []).filter((each) => inForce.has(each))])].sort(
      (a, b) => a - b,
    );
    if (before === undefined || !sameList(before, both)) prepare.push({ number, classes: both });
    if (!sameList(both, classes)) cleanup.push({ number, classes });
  }
  return { prepare, cleanup };
}

/** Policies keep the cells of identities until the flip, for the same reason: a number in a cell has no other meaning by then. */
function policyChanges({ state: have, unsettled }: Held, want: State) {
  const prepare: PolicyWrite[] = [];
  const cleanup: PolicyWrite[] = [];
  if (have.policies === want.policies && unsettled.policies.size === 0) return { prepare, cleanup };
  for (const number of changedKeys(have.policies, want.policies, unsettled.policies)) {
    const cells = want.policies.get(number);
    if (cells === undefined) continue;
    const before = unsettled.policies.has(number) ? undefined : have.policies.get(number);
    if (before === undefined) {
      prepare.push({ number, cells, changed: [...cells.keys()], isNew: true });
      continue;
    }
    const changes = [...changesBetween(before, cells)];
    const added = changes.flatMap(({ key, after }) => (after === undefined ? [] : [key]));
    const stale = changes.filter(({ after }) => after === undefined);
    const both = overlaid(cells, new Map(stale.map((each) => [each.key, each.before])));
    if (added.length > 0) prepare.push({ number, cells: both, changed: added, isNew: false });
    if (stale.length > 0) cleanup.push({ number, cells, changed: stale.map(({ key }) => key), isNew: false });
  }
  return { prepare, cleanup };
}

/** An added prefix repeats, in the active version, what covers it there; a removed one does so in the next version. */
function cidrChanges(held: Held, want: State): Batch["cidrs"] {
  const have = held.state;
  const keys = changedKeys(have.cidrs, want.cidrs, held.unsettled.cidrs);
  if (keys.length === 0) return [];
  const tables = { live: cidrTable(have), next: cidrTable(want) };
  return keys.map((cidr) => ({
    cidr,
    identity: {
      live: have.cidrs.get(cidr) ?? covering(tables.live, cidr),
      next: want.cidrs.get(cidr) ?? covering(tables.next, cidr),
    },
  }));
}

function covering(table: PrefixTable<number>, text: string): number {
  const cidr = cidrFrom(text);
  return table.find(cidr.family, cidr.value, cidr.length) ?? IDENTITY_DEFAULT;
}

/** Changes of a table whose keys may be there in one version only. */
function mayBeAbsent(
  have: ReadonlyMap<string, number>,
  want: ReadonlyMap<string, number>,
  unsettled: ReadonlySet<string>,
): { readonly key: string; readonly identity: Versions<number | typeof ABSENT> }[] {
  return changedKeys(have, want, unsettled).map((key) => ({
    key,
    identity: { live: have.get(key) ?? ABSENT, next: want.get(key) ?? ABSENT },
  }));
}

const closedChange = (from: FilterWords, to: FilterWords): Batch["closed"] =>
  sameWords(from, to) ? [] : [{ from, to }];

/**
 * While the table of names has a name, answers are learned under it: an added one repeats, in the active version, what the next less
 * specific name has there; a removed one does so in the next version.
 */
function nameChanges({ state: have, unsettled }: Held, want: State): Batch["names"] {
  const changed = changedKeys(have.names, want.names, unsettled.names);
  // Also of policies that only one of the states has: addresses of their pods may be those of a name that comes or goes.
  const keys = new Set([...changed, ...keysFor(have.names, want.names), ...keysFor(want.names, have.names)]);
  return [...keys].map((key) => ({
    key,
    policy: { live: policyByName(have.names, key) ?? ABSENT, next: policyByName(want.names, key) ?? ABSENT },
  }));
}

/** The keys that policies of one state need for names that only the other one has. */
function keysFor(names: State["names"], other: State["names"]): string[] {
  if (names === other) return [];
  const [own, more] = [domainsOf(names), domainsOf(other)];
  const added = [...more].filter((name) => !own.has(name));
  if (added.length === 0) return [];
  const policies = new Set(names.keys().map((key) => nameFrom(key).policy));
  return [...policies]
    .flatMap((policy) => added.map((name) => nameKey(policy, name)))
    .filter((key) => policyByName(names, key) !== undefined);
}

function policyByName(names: State["names"], key: string): number | undefined {
  const { policy, name } = nameFrom(key);
  for (const pattern of patternsOf(name)) {
    const found = names.get(nameKey(policy, pattern));
    if (found !== undefined) return found;
  }
  return undefined;
}

function domainChanges({ state: have, unsettled }: Held, want: State) {
  if (have.names === want.names && unsettled.domains.size === 0) return { add: [], remove: [] };
  const [before, after] = [domainsOf(have.names), domainsOf(want.names)];
  const isOff = (name: string): boolean => unsettled.domains.has(name);
  return {
    add: [...after].filter((name) => !before.has(name) || isOff(name)),
    remove: [...new Set([...before, ...unsettled.domains])]
      .filter((name) => !after.has(name))
      .map((name): RemovedDomain => {
        const heir = mostSpecific(after, name);
        return heir === undefined ? { name } : { name, heir };
      }),
  };
}

/** A new endpoint is not attached yet: both versions are equal from the start. */
function endpointChanges(held: Held, want: State): EndpointWrite[] {
  const writes: EndpointWrite[] = [];
  if (held.state.endpoints === want.endpoints && held.unsettled.endpoints.size === 0) return writes;
  for (const [ifindex, endpoint] of want.endpoints) {
    const before = held.state.endpoints.get(ifindex);
    const same =
      before !== undefined && sameEndpoint(before, endpoint) && !held.unsettled.endpoints.has(ifindex);
    if (!same)
      writes.push({
        ifindex,
        endpoint,
        policy: { live: before?.policy ?? endpoint.policy, next: endpoint.policy },
        moreSources: endpoint.sources.length > 0 || (before?.sources.length ?? 0) > 0,
      });
  }
  return writes;
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return (
    a.id === b.id &&
    a.incarnation === b.incarnation &&
    (a.tenant ?? 0) === (b.tenant ?? 0) &&
    sameList(a.addresses, b.addresses) &&
    sameList(a.sources, b.sources) &&
    sameLink(a.link, b.link) &&
    DIRECTIONS.every((direction) => a.policy[direction] === b.policy[direction])
  );
}

function changedKeys<K, V>(have: ReadonlyMap<K, V>, want: ReadonlyMap<K, V>, unsettled: ReadonlySet<K>): K[] {
  const changed = [...changesBetween(have, want)].map(({ key }) => key);
  return unsettled.size === 0 ? changed : [...new Set([...changed, ...unsettled])];
}

const sameList = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a.length === b.length && a.every((value, index) => value === b[index]);

export const UNISOLATED: PolicyPair = { ingress: POLICY_NONE, egress: POLICY_NONE };

// The places of the port line that change their class, as runs with equal changes.

/** One value in both versions: `live` stays as it is, `next` becomes active with the flip. */
export interface Versions<T> {
  readonly live: T;
  readonly next: T;
}

export type PortChange = Span & Versions<number>;

/** Places of the port line whose class changes; every place if `all`. */
export function portChanges(
  have: readonly ClassSpan[],
  want: readonly ClassSpan[],
  all: boolean,
): PortChange[] {
  if (have === want && !all) return [];
  const edges = new Set([0, PORT_LINE_SIZE]);
  for (const span of [...have, ...want]) edges.add(span.first).add(span.last + 1);
  const sorted = [...edges].sort((a, b) => a - b);
  const changes: PortChange[] = [];
  const classIn = spanReader();
  for (const [index, first] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next === undefined) break;
    const versions = { live: classIn(have, first), next: classIn(want, first) };
    if (all || versions.live !== versions.next) changes.push({ first, last: next - 1, ...versions });
  }
  return changes;
}

/** Reads classes at rising places: only steps forward in each list, without a search. */
function spanReader() {
  const positions = new Map<readonly ClassSpan[], number>();
  return (spans: readonly ClassSpan[], place: number): number => {
    let at = positions.get(spans) ?? 0;
    while (at < spans.length && (spans[at] as ClassSpan).last < place) at += 1;
    positions.set(spans, at);
    const span = spans[at];
    return span !== undefined && span.first <= place ? span.class : CLASS_OTHER;
  };
}
