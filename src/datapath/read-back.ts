// Reads back the actual state from the kernel, as plain data for a diff.

import { type Address, type Cidr, compareCidrs } from "../base/ip.ts";
import { IDENTITY_ABSENT, NAME_NONE, type Node } from "../gen/layout.ts";
import {
  type ClassSpan,
  type Endpoint,
  NO_INCARNATION,
  NO_NAME,
  nameFrom,
  nameKey,
  POLICY_NONE,
  type State,
  serviceKey,
} from "../state/desired-state.ts";
import type { Held } from "../state/state-diff.ts";
import { closedWordsOf } from "./closed-filter.ts";
import {
  addressesOfEndpoint,
  addressOfV4,
  addressOfV4Key,
  addressOfV6,
  addressOfV6Key,
  cidrOfSourceV4,
  cidrOfSourceV6,
  cidrOfV4Key,
  cidrOfV6Key,
  classesOfRow,
  endpointLinkOf,
  linkOfEndpoint,
} from "./codec.ts";
import { domainNameOf, domainNumberOf } from "./domain-names.ts";
import type { Tables } from "./typed-maps.ts";

type Pair = readonly [number, number];

/** What the maps hold, and the addresses that have an entry in either version. */
export interface Read extends Held {
  readonly known: readonly Address[];
}

/** The active state, and the keys whose two versions differ. Errors: OperationError. */
export async function readHeld(tables: Tables): Promise<Read> {
  const node = tables.node.get(0);
  const version = (node?.generation ?? 0) & 1;
  const addresses = [
    ...(await tables.addressesV4.read()).map(([key, { number }]) => [addressOfV4Key(key), number] as const),
    ...(await tables.addressesV6.read()).map(([key, { number }]) => [addressOfV6Key(key), number] as const),
  ];
  const services = [
    ...(await tables.servicesV4.read()).map(
      ([{ address, place }, { number }]) => [frontendOf(addressOfV4(address), place), number] as const,
    ),
    ...(await tables.servicesV6.read()).map(
      ([{ address, place }, { number }]) => [frontendOf(addressOfV6(address), place), number] as const,
    ),
  ];
  const cidrs = [
    ...(await tables.cidrsV4.read()).map(([key, { number }]) => [cidrOfV4Key(key), number] as const),
    ...(await tables.cidrsV6.read()).map(([key, { number }]) => [cidrOfV6Key(key), number] as const),
  ];
  const names = await readNames(tables);
  const endpoints = (await tables.endpoints.read({ skipZero: true })).map(([, value]) => value);
  const sources = await readSources(tables);
  const ports = await tables.ports.read({ skipZero: true });
  const rows = await tables.rows.read({ skipZero: true });
  const policies = await readPolicies(tables);
  const sourcesOf = Map.groupBy(sources, ({ ifindex }) => ifindex);
  const interfaces = new Set(endpoints.map(({ ifindex }) => ifindex));
  const leftovers = sources
    .filter(({ allowed: [a, b] }) => a !== 1 || b !== 1)
    .map(({ ifindex, cidr }) => ({ ifindex, cidr: cidr.text }));
  const present = ({ 1: pair }: readonly [Address | Frontend, Pair]) => pair[version] !== IDENTITY_ABSENT;
  const state: State = {
    endpoints: new Map(
      endpoints.map((each) => [
        each.ifindex,
        { ...endpointOf(each, version), sources: sourcesIn(sourcesOf.get(each.ifindex) ?? [], version) },
      ]),
    ),
    scopes: new Map(
      [...sourcesOf]
        .filter(([scope]) => !interfaces.has(scope))
        .map(([scope, entries]) => [scope, sourcesIn(entries, version)]),
    ),
    tunnelPorts: portsOf(node?.tunnelPorts, version),
    addresses: new Map(addresses.filter(present).map(([{ text }, pair]) => [text, pair[version] as number])),
    closed: closedWordsOf(await tables.closedFilter.read({ skipZero: true })),
    services: new Map(services.filter(present).map(([{ text }, pair]) => [text, pair[version] as number])),
    cidrs: new Map(cidrs.map(([{ text }, pair]) => [text, pair[version] as number])),
    ports: spansOf(ports.map(([place, { number }]) => [place, number[version] as number])),
    rows: new Map(rows.map(([number, row]) => [number, classesOfRow(row)])),
    names: new Map(names.entries.filter(present).map(([{ text }, pair]) => [text, pair[version] as number])),
    policies: policies.all,
  };
  return {
    state,
    lastIncarnation: node?.lastIncarnation ?? NO_INCARNATION,
    known: addresses.map(([address]) => address),
    unsettled: {
      addresses: differing(addresses),
      services: differing(services),
      cidrs: differing(cidrs),
      names: differing(names.entries),
      domains: names.misplaced(version),
      endpoints: new Set([
        ...endpoints
          .filter((each) => !isSettled(each, sourcesOf.has(each.ifindex)))
          .map(({ ifindex }) => ifindex),
        ...leftovers.map(({ ifindex }) => ifindex),
      ]),
      sources: leftovers,
      policies: policies.unreadable,
      ports: ports.some(([, { number }]) => number[0] !== number[1]),
      tunnelPorts: portsOf(node?.tunnelPorts, 0).join() !== portsOf(node?.tunnelPorts, 1).join(),
    },
  };
}

/** Names whose number is that of no name in the table of names have none that a rule could have. */
async function readNames({ domainNames, namePolicies }: Tables) {
  const domains = (await domainNames.read()).map(
    ([key, { pattern }]) => [domainNameOf(key), pattern] as const,
  );
  const byNumber = new Map([
    [BigInt(NAME_NONE), NO_NAME] as const,
    // A removed name may have the number of another one: see removeNames().
    ...domains
      .filter(([name, pattern]) => pattern === domainNumberOf(name))
      .map(([name, pattern]) => [pattern, name] as const),
  ]);
  const entries = (await namePolicies.read()).map(([{ pattern, policy }, { number }]) => {
    const text = nameKey(policy, byNumber.get(pattern) ?? `#${pattern.toString(16)}`);
    return [{ text } as Frontend, number] as const;
  });
  return {
    entries,
    /** Names with a wrong number, and names in only one of the two tables. */
    misplaced(version: number): Set<string> {
      const used = new Set(
        entries
          .filter(([, pair]) => pair[version] !== IDENTITY_ABSENT)
          .map(([{ text }]) => nameFrom(text).name)
          .filter((name) => name !== NO_NAME),
      );
      const right = new Set(
        domains.filter(([name, pattern]) => pattern === domainNumberOf(name)).map(([name]) => name),
      );
      return used
        .symmetricDifference(right)
        .union(new Set(domains.map(([name]) => name).filter((name) => !right.has(name))));
    },
  };
}

/** 0 is a free place. */
const portsOf = (ports: Node["tunnelPorts"] | undefined, version: number): number[] =>
  (ports?.[version as 0 | 1] ?? []).filter((port) => port !== 0).sort((a, b) => a - b);

/** By the key that a state has for it. */
interface Frontend {
  readonly text: string;
}

const frontendOf = (address: Address, place: number): Frontend => ({ text: serviceKey(address.text, place) });

const differing = (entries: readonly (readonly [Address | Cidr | Frontend, Pair])[]): Set<string> =>
  new Set(entries.filter(([, [a, b]]) => a !== b).map(([{ text }]) => text));

type RawEndpoint = Awaited<ReturnType<Tables["endpoints"]["read"]>>[number][1];

interface SourceEntry {
  readonly ifindex: number;
  readonly cidr: Cidr;
  readonly allowed: Pair;
}

async function readSources({ sourcesV4, sourcesV6 }: Tables): Promise<SourceEntry[]> {
  const [v4, v6] = await Promise.all([sourcesV4.read(), sourcesV6.read()]);
  const entries = [
    ...v4.map(([key, { allowed }]) => ({ ifindex: key.ifindex, cidr: cidrOfSourceV4(key), allowed })),
    ...v6.map(([key, { allowed }]) => ({ ifindex: key.ifindex, cidr: cidrOfSourceV6(key), allowed })),
  ];
  return entries.sort((a, b) => compareCidrs(a.cidr, b.cidr));
}

const sourcesIn = (entries: readonly SourceEntry[], version: number): string[] =>
  entries.filter(({ allowed }) => allowed[version] === 1).map(({ cidr }) => cidr.text);

/** Whether both versions of its policies are equal, and its fields about entries in `sources` and checked frames are right. */
const isSettled = (raw: RawEndpoint, hasSources: boolean): boolean => {
  const { policy, moreSources, hardwareMask } = raw;
  const [a, b] = policy;
  const link = endpointLinkOf(linkOfEndpoint(raw) ?? { hardware: [] }, addressesOfEndpoint(raw).length > 0);
  const isWhole = (moreSources !== 0) === hasSources && hardwareMask === link.hardwareMask;
  return a[0] === b[0] && a[1] === b[1] && isWhole;
};

function endpointOf(raw: RawEndpoint, version: number): Omit<Endpoint, "sources"> {
  const [ingress, egress] = raw.policy[version as 0 | 1];
  const link = linkOfEndpoint(raw);
  return {
    id: raw.id,
    incarnation: raw.incarnation,
    addresses: addressesOfEndpoint(raw).map(({ text }) => text),
    ...(link === undefined ? {} : { link }),
    ...(raw.tenant === 0 ? {} : { tenant: raw.tenant }),
    policy: { ingress, egress },
  };
}

/** Converts places with their classes, in rising order, to spans. */
export function spansOf(places: readonly (readonly [number, number])[]): ClassSpan[] {
  const spans: { first: number; last: number; class: number }[] = [];
  for (const [place, number] of places) {
    if (number === 0) continue;
    const top = spans.at(-1);
    if (top !== undefined && top.last === place - 1 && top.class === number) top.last = place;
    else spans.push({ first: place, last: place, class: number });
  }
  return spans;
}

interface Policies {
  /** Includes unreadable policies, without cells: their numbers are in use. */
  readonly all: Map<number, Map<number, number>>;
  /** Policies that cannot be opened any more, since their pins are gone. */
  readonly unreadable: ReadonlySet<number>;
}

async function readPolicies({ policy }: Tables): Promise<Policies> {
  const all = new Map<number, Map<number, number>>();
  const unreadable = new Set<number>();
  for await (const [number, rows] of policy.all()) {
    // Never looked up; written only to wait for packets in flight.
    if (number === POLICY_NONE) continue;
    if (rows === undefined) unreadable.add(number);
    all.set(number, new Map(await rows?.read({ skipZero: true })));
  }
  return { all, unreadable };
}
