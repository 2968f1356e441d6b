// Reading one table from the pinned maps, as `weir maps dump` shows it.

import { DIRECTIONS } from "../../base/direction.ts";
import { type Address, compareCidrs } from "../../base/ip.ts";
import {
  addressOfV4,
  addressOfV4Key,
  addressOfV6,
  addressOfV6Key,
  cidrOfSourceV4,
  cidrOfSourceV6,
  cidrOfV4Key,
  cidrOfV6Key,
  classesOfRow,
  sumStatistics,
} from "../../datapath/codec.ts";
import { readDenied, readDeniedCounts, readScreened } from "../../datapath/denied-prefix-maps.ts";
import { domainNameOf, readKnownNames } from "../../datapath/domain-names.ts";
import { ticksNow } from "../../datapath/node-settings.ts";
import { spansOf } from "../../datapath/read-back.ts";
import { nestedTableOf } from "../../datapath/typed-maps.ts";
import {
  COUNTED_FAMILY_NAMES,
  IDENTITY_ABSENT,
  type Identity,
  NAME_NONE,
  REASON_NAMES,
  REASONS,
  SCREENED_NAMES,
  Screened,
} from "../../gen/layout.ts";
import type { NamesView } from "../../observe/api-views.ts";
import type { Dump } from "../../observe/dump/map-dump.ts";
import type { TableName } from "../../observe/dump/map-tables.ts";
import {
  type AddressRecord,
  addressesDump,
  cidrsDump,
  type DomainRecord,
  domainsDump,
  endpointsDump,
  type IndexRecord,
  indexDump,
  type KnownRecord,
  knownDump,
  type PolicyRecord,
  type PortsRecord,
  policyDump,
  portsDump,
  type RowRecord,
  rowsDump,
  type ServiceRecord,
  type SourceRecord,
  servicesDump,
  sourcesDump,
} from "../../observe/dump/policy-dumps.ts";
import {
  conntrackDump,
  countersDump,
  type DeniedRecord,
  deniedDump,
  type EventRecord,
  eventsDump,
  fragmentsDump,
  type NameRecord,
  namesDump,
  nodeDump,
  type ScreenedRecord,
  type StatisticsRecord,
  statisticsDump,
  uplinksDump,
} from "../../observe/dump/traffic-dumps.ts";
import { portSetText } from "../../policy/port-classes.ts";
import {
  type ClassSpan,
  identityIn,
  NO_NAME,
  POLICY_NONE,
  ROW_ALL,
  ROW_NOTHING,
  type Span,
  serviceKey,
} from "../../state/desired-state.ts";
import { cidrFrom } from "../../state/state-lookup.ts";
import { interfaceNames, type Kernel, readCounters, readEndpoints, unreadable } from "../pinned-maps.ts";
import { readFlows, readFragments, readNode } from "./conntrack-flows.ts";

type Reader = (kernel: Kernel, names: NamesView | undefined) => Promise<Dump>;

/** One for each table: reads it, and says how it is shown. */
const READERS: Readonly<Record<TableName, Reader>> = {
  cidrs: async (kernel, names) => cidrsDump(await readCidrs(kernel), names),
  addresses: async (kernel, names) => addressesDump(await readAddresses(kernel), names),
  services: async (kernel, names) => servicesDump(await readServices(kernel), names),
  endpoints: async (kernel, names) => endpointsDump(await readEndpoints(kernel), names),
  sources: async (kernel, names) => sourcesDump(await readSources(kernel), names),
  policy: async (kernel, names) => policyDump(await readPolicies(kernel), await rowTexts(kernel), names),
  ports: async (kernel) => portsDump(await readPorts(kernel)),
  rows: async (kernel) => rowsDump(await readRows(kernel)),
  domains: async (kernel, names) => domainsDump(await readDomains(kernel), names),
  names: async (kernel, names) => namesDump(await readNames(kernel), names),
  conntrack: async (kernel, names) => conntrackDump(await readFlows(kernel), names),
  statistics: async (kernel) => statisticsDump(await readStatistics(kernel)),
  counters: async (kernel, names) => countersDump(await countersWithPlaces(kernel), names),
  fragments: async (kernel, names) => fragmentsDump(await readFragments(kernel), names),
  events: async (kernel, names) => eventsDump(await readEventBuckets(kernel), names),
  known: async (kernel) => knownDump(await readKnown(kernel)),
  index: async (kernel) => indexDump(await readIndex(kernel)),
  denied: async (kernel) => deniedDump(await readDeniedRecords(kernel)),
  uplinks: (kernel) => Promise.resolve(uplinksDump(readScreenedRecords(kernel))),
  node: (kernel) => Promise.resolve(nodeDump(readNode(kernel))),
};

export const readDump = (name: TableName, kernel: Kernel, names: NamesView | undefined): Promise<Dump> =>
  READERS[name](kernel, names);

/** Entries whose value in force is an identity; the others are not there yet, or not any more. */
function inForce<K, T>(
  entries: readonly (readonly [K, Identity])[],
  { version }: Kernel,
  make: (key: K, identity: number) => T,
): T[] {
  return entries.flatMap(([key, { number }]) => {
    const identity = number[version];
    return identity === IDENTITY_ABSENT ? [] : [make(key, identity)];
  });
}

async function readCidrs(kernel: Kernel) {
  const [v4, v6] = await Promise.all([kernel.table("cidrs_v4").read(), kernel.table("cidrs_v6").read()]);
  return [
    ...inForce(v4, kernel, (key, identity) => ({ cidr: cidrOfV4Key(key), identity })),
    ...inForce(v6, kernel, (key, identity) => ({ cidr: cidrOfV6Key(key), identity })),
  ];
}

async function readAddresses(kernel: Kernel) {
  const [v4, v6] = await Promise.all([
    kernel.table("addresses_v4").read(),
    kernel.table("addresses_v6").read(),
  ]);
  return [
    ...inForce(v4, kernel, (key, value) => addressRecord(addressOfV4Key(key), value)),
    ...inForce(v6, kernel, (key, value) => addressRecord(addressOfV6Key(key), value)),
  ];
}

const addressRecord = (address: Address, value: number): AddressRecord => ({
  address,
  identity: identityIn(value),
  frontend: value !== identityIn(value),
});

async function readServices(kernel: Kernel): Promise<ServiceRecord[]> {
  const [v4, v6] = await Promise.all([
    kernel.table("services_v4").read(),
    kernel.table("services_v6").read(),
  ]);
  return [
    ...inForce(v4, kernel, ({ address, place }, identity) =>
      serviceRecord(addressOfV4(address), place, identity),
    ),
    ...inForce(v6, kernel, ({ address, place }, identity) =>
      serviceRecord(addressOfV6(address), place, identity),
    ),
  ];
}

const serviceRecord = (address: Address, place: number, identity: number): ServiceRecord => ({
  address,
  place,
  port: portSetText([{ first: place, last: place }]),
  identity,
  key: serviceKey(address.text, place),
});

/** Those that are in force. */
async function readSources({ table, version }: Kernel): Promise<SourceRecord[]> {
  const [v4, v6] = await Promise.all([table("sources_v4").read(), table("sources_v6").read()]);
  const names = interfaceNames();
  const entries = [
    ...v4.map(([key, { allowed }]) => ({ ifindex: key.ifindex, cidr: cidrOfSourceV4(key), allowed })),
    ...v6.map(([key, { allowed }]) => ({ ifindex: key.ifindex, cidr: cidrOfSourceV6(key), allowed })),
  ];
  return entries
    .filter(({ allowed }) => allowed[version] !== 0)
    .map(({ ifindex, cidr }) => {
      const name = names.get(ifindex);
      return { ifindex, ...(name === undefined ? {} : { interface: name }), cidr };
    });
}

/** Those that are in force. */
async function readDomains({ table, version }: Kernel): Promise<DomainRecord[]> {
  const [domains, policies] = await Promise.all([
    table("domain_names").read(),
    table("name_policies").read(),
  ]);
  const texts = new Map(domains.map(([key, { pattern }]) => [pattern, domainNameOf(key)]));
  texts.set(BigInt(NAME_NONE), NO_NAME);
  return policies.flatMap(([{ pattern, policy }, { number }]) => {
    const by = number[version];
    const name = texts.get(pattern) ?? `#${pattern.toString(16)}`;
    return by === IDENTITY_ABSENT ? [] : [{ policy, name, by }];
  });
}

async function readNames(kernel: Kernel): Promise<NameRecord[]> {
  const { table } = kernel;
  const endpoints = new Map((await readEndpoints(kernel)).map((each) => [each.incarnation, each]));
  const { ticksPerSecond } = readNode(kernel);
  const now = ticksNow(ticksPerSecond);
  const known = await readKnownNames({ names: table("names"), domainNames: table("domain_names") });
  return known.map(({ incarnation, address, name, expires }) => {
    const { ifindex, interface: own } = endpoints.get(incarnation) ?? {};
    return {
      incarnation,
      ...(ifindex === undefined ? {} : { ifindex }),
      ...(own === undefined ? {} : { interface: own }),
      address,
      name,
      expiresMs: ticksPerSecond === 0 ? 0 : Math.round((Number(expires - now) * 1_000) / ticksPerSecond),
    };
  });
}

async function readPolicies({ pins }: Kernel): Promise<PolicyRecord[]> {
  const outer = nestedTableOf("policy", pins.map("policy"), pins.inner("policy"));
  const records: PolicyRecord[] = [];
  for await (const [policy, inner] of outer.all()) {
    if (policy === POLICY_NONE) continue;
    if (inner === undefined) throw unreadable(`policy ${policy}`);
    const cells = (await inner.read()).map(([identity, row]) => ({ identity, row }));
    // A cell that holds nothing falls back to that of identity 0, which is always of interest.
    records.push({ policy, cells: cells.filter(({ identity, row }) => identity === 0 || row !== 0) });
  }
  return records;
}

async function countersWithPlaces(kernel: Kernel) {
  const [records, places] = await Promise.all([readCounters(kernel), placesById(kernel)]);
  return records.map((record) => ({ ...record, ...places.get(record.id) }));
}

async function readStatistics({ table }: Kernel): Promise<StatisticsRecord[]> {
  const entries = await table("flow_statistics").read();
  return entries.map(([family, perCpu]) => ({
    family: COUNTED_FAMILY_NAMES[family] ?? String(family),
    ...sumStatistics(perCpu),
  }));
}

/** Without the node's own bucket, which is the first. */
async function readEventBuckets(kernel: Kernel): Promise<EventRecord[]> {
  const places = await placesById(kernel);
  const entries = await kernel.table("event_buckets").read({ skipZero: true });
  return entries.flatMap(([place, { written, lost }]) => {
    const reason = place % REASONS;
    const side = Math.floor(place / REASONS);
    const id = Math.floor(side / DIRECTIONS.length);
    if (written === 0n && lost === 0n) return [];
    const name = REASON_NAMES[reason] ?? String(reason);
    const direction = DIRECTIONS[side % DIRECTIONS.length] ?? "ingress";
    return [{ id, ...places.get(id), direction, reason: name, written, lost }];
  });
}

const bitsSet = (words: readonly bigint[]): number =>
  words.reduce((sum, word) => sum + word.toString(2).replaceAll("0", "").length, 0);

async function readKnown({ table }: Kernel): Promise<KnownRecord[]> {
  const known = (await table("address_filter").read()).map(([, { word }]) => word);
  const closed = (await table("closed_filter").read()).flatMap(([, { words }]) => words);
  const frontends = (await table("frontend_filter").read()).flatMap(([, { words }]) => words);
  const recordOf = (filter: string, words: readonly bigint[]): KnownRecord => ({
    ...{ filter, bits: words.length * 64, set: bitsSet(words) },
  });
  return [
    recordOf("address_filter", known),
    recordOf("closed_filter", closed),
    recordOf("frontend_filter", frontends),
  ];
}

async function readIndex({ table, version }: Kernel): Promise<IndexRecord> {
  const blocks = await table("cidr_index_v4").read({ skipZero: true });
  const elements = await table("cidr_filter_v4").read({ skipZero: true });
  return {
    identified: blocks.filter(([, { number }]) => number[version] !== 0).length,
    longer: elements.reduce((sum, [, { words }]) => sum + bitsSet(words), 0),
  };
}

async function placesById(kernel: Kernel) {
  const endpoints = await readEndpoints(kernel);
  return new Map(
    endpoints.map(({ id, ifindex, interface: name }) => [
      id,
      name === undefined ? { ifindex } : { ifindex, interface: name },
    ]),
  );
}

// Reading the classes of ports and the rows of classes, as sets of ports that people can read.

async function readSpans({ table, version }: Kernel): Promise<ClassSpan[]> {
  const entries = await table("ports").read({ skipZero: true });
  return spansOf(entries.map(([place, { number }]) => [place, number[version]]));
}

export async function readPorts(kernel: Kernel): Promise<PortsRecord[]> {
  return (await readSpans(kernel)).map((span) => ({ ...span, ports: portSetText([span]) }));
}

/** Every row with a class in it; the two that need no entry are not in the map. */
export async function readRows(kernel: Kernel): Promise<RowRecord[]> {
  const [spans, entries] = await Promise.all([
    readSpans(kernel),
    kernel.table("rows").read({ skipZero: true }),
  ]);
  return entries.map(([row, value]) => {
    const classes = classesOfRow(value);
    const held = new Set(classes);
    return { row, classes, ports: portSetText(joined(spans.filter((span) => held.has(span.class)))) };
  });
}

/** What each row allows, in words. */
export async function rowTexts(kernel: Kernel): Promise<(row: number) => string> {
  const texts = new Map((await readRows(kernel)).map(({ row, ports }) => [row, ports]));
  texts.set(ROW_NOTHING, "nothing");
  texts.set(ROW_ALL, "all");
  return (row) => texts.get(row) ?? "nothing (the row is empty)";
}

/** Adjacent spans as one: "TCP/1-3" rather than "TCP/1,TCP/2-3". */
function joined(spans: readonly Span[]): Span[] {
  const result: { first: number; last: number }[] = [];
  for (const { first, last } of spans) {
    const top = result.at(-1);
    if (top !== undefined && top.last === first - 1) top.last = last;
    else result.push({ first, last });
  }
  return result;
}

// Reading the tables about uplinks.

/** The prefixes in force, in the order of their addresses. */
export async function readDeniedRecords({ pins, table }: Kernel): Promise<DeniedRecord[]> {
  const numbers = await readDenied({
    uplink: table("uplink"),
    deniedV4: nestedTableOf("denied_v4", pins.map("denied_v4"), pins.inner("denied_v4")),
    deniedV6: nestedTableOf("denied_v6", pins.map("denied_v6"), pins.inner("denied_v6")),
  });
  if (numbers === undefined) throw unreadable("the list of denied prefixes");
  const counts = await readDeniedCounts({ deniedCounts: table("denied_counts") });
  return [...numbers]
    .map(([prefix, number]) => ({ cidr: cidrFrom(prefix), number }))
    .sort((a, b) => compareCidrs(a.cidr, b.cidr))
    .map(({ cidr, number }) => ({
      prefix: cidr.text,
      number,
      ...(counts.get(number) ?? { packets: 0n, bytes: 0n }),
    }));
}

export const readScreenedRecords = ({ table }: Kernel): ScreenedRecord[] =>
  readScreened({ uplinkCounters: table("uplink_counters") }).flatMap(({ packets, bytes }, screened) =>
    packets === 0n
      ? []
      : [
          {
            reason: SCREENED_NAMES[screened] ?? `reason ${screened}`,
            dropped: screened >= Screened.DROPS,
            packets,
            bytes,
          },
        ],
  );
