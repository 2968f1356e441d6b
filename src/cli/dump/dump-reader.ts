// Reading one table from the pinned maps, in the version that is in force, ready to be shown.

import { DIRECTIONS } from "../../base/direction.ts";
import type { Address } from "../../base/ip.ts";
import {
  addressOfV4,
  addressOfV4Key,
  addressOfV6,
  addressOfV6Key,
  cidrOfSourceV4,
  cidrOfSourceV6,
  cidrOfV4Key,
  cidrOfV6Key,
} from "../../datapath/codec.ts";
import { nestedTableOf } from "../../datapath/typed-maps.ts";
import { IDENTITY_ABSENT, type Identity, REASON_NAMES, REASONS } from "../../gen/layout.ts";
import type { NamesView } from "../../observe/api-views.ts";
import { type EventRecord, eventsDump } from "../../observe/dump/events.ts";
import type { Dump } from "../../observe/dump/map-dump.ts";
import type { TableName } from "../../observe/dump/map-tables.ts";
import {
  type AddressRecord,
  addressesDump,
  cidrsDump,
  endpointsDump,
  type KnownRecord,
  knownDump,
  type PolicyRecord,
  policyDump,
  type SourceRecord,
  sourcesDump,
} from "../../observe/dump/policy-dumps.ts";
import { portsDump, rowsDump } from "../../observe/dump/ports.ts";
import { type ServiceRecord, servicesDump } from "../../observe/dump/services.ts";
import { conntrackDump, countersDump, fragmentsDump, nodeDump } from "../../observe/dump/traffic-dumps.ts";
import { deniedDump, uplinksDump } from "../../observe/dump/uplinks.ts";
import { portSetText } from "../../policy/port-classes.ts";
import { identityIn, POLICY_NONE, serviceKey } from "../../state/desired-state.ts";
import { readCounters } from "../counters.ts";
import { interfaceNames } from "../interfaces.ts";
import { type Kernel, readEndpoints, unreadable } from "../pinned-maps.ts";
import { readFlows, readFragments, readNode } from "./flows.ts";
import { readPorts, readRows, rowTexts } from "./ports.ts";
import { readDeniedRecords, readScreenedRecords } from "./uplinks.ts";

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
  conntrack: async (kernel, names) => conntrackDump(await readFlows(kernel), names),
  counters: async (kernel, names) => countersDump(await countersWithPlaces(kernel), names),
  fragments: async (kernel, names) => fragmentsDump(await readFragments(kernel), names),
  events: async (kernel, names) => eventsDump(await readEventBuckets(kernel), names),
  known: async (kernel) => knownDump(await readKnown(kernel)),
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

async function readKnown({ table }: Kernel): Promise<KnownRecord> {
  const words = (await table("known_addresses").read()).map(([, { word }]) => word);
  const set = words.reduce((sum, word) => sum + word.toString(2).replaceAll("0", "").length, 0);
  return { bits: words.length * 64, set };
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
