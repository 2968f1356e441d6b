// Writes the tables keyed by addresses or prefixes: one map for each family, two versions of every value.

import { NO_WORDS } from "../base/address-filter.ts";
import { type Address, addressOf, type Cidr, parseAddress } from "../base/ip.ts";
import { IDENTITY_ABSENT } from "../gen/layout.ts";
import { serviceFrom } from "../state/desired-state.ts";
import { ABSENT, type Batch, type Versions } from "../state/state-diff.ts";
import { cidrFrom } from "../state/state-lookup.ts";
import { addToBloomFilter } from "./bloom-filter.ts";
import type { CidrIndex } from "./cidr-index.ts";
import { closedElements } from "./closed-filter.ts";
import {
  addressV4KeyOf,
  addressV6KeyOf,
  cidrV4KeyOf,
  cidrV6KeyOf,
  serviceV4KeyOf,
  serviceV6KeyOf,
  sourceV4KeyOf,
  sourceV6KeyOf,
} from "./codec.ts";
import type { Tables } from "./typed-maps.ts";

/** Both versions of a value; the first is active in even generations. */
export type Pair<T> = readonly [T, T];
export type PairOf = <T>(versions: Versions<T>) => Pair<T>;

/** Must be written before the endpoints, which state whether their sources are looked up. */
export async function writeAddressed(
  tables: Tables,
  index: CidrIndex,
  batch: Batch,
  pair: PairOf,
): Promise<void> {
  await writeCidrs(tables, index, batch, pair);
  await writeAddresses(tables, batch, pair);
  await writeServices(tables, batch, pair);
  await writeSources(tables, batch, pair);
}

async function writeCidrs(tables: Tables, index: CidrIndex, batch: Batch, pair: PairOf): Promise<void> {
  const entries = batch.cidrs.map(({ cidr, identity }) => ({
    cidr: cidrFrom(cidr),
    value: { number: pair(identity) },
  }));
  const [v4, v6] = byFamily(entries);
  await index.prepare(v4.map(({ cidr }) => cidr));
  await tables.cidrsV4.writeBatch(v4.map(({ cidr, value }) => [cidrV4KeyOf(cidr), value]));
  await index.update(v4);
  await tables.cidrsV6.writeBatch(v6.map(({ cidr, value }) => [cidrV6KeyOf(cidr), value]));
}

interface Addressed {
  readonly address: Address;
}

const isV4 = ({ address }: Addressed): boolean => address.family === 4;
const isV6 = ({ address }: Addressed): boolean => address.family === 6;

async function writeAddresses(tables: Tables, batch: Batch, pair: PairOf): Promise<void> {
  const entries = batch.addresses.map(({ address, identity }) => ({
    address: addressFrom(address),
    value: pairOrAbsent(identity, pair),
  }));
  const [closed] = batch.closed;
  await addToBloomFilter(
    tables,
    entries.map(({ address }) => address),
    closed?.to ?? NO_WORDS,
  );
  if (closed !== undefined) await tables.closedFilter.writeBatch(closedElements(closed));
  await tables.addressesV4.writeBatch(
    entries.filter(isV4).map(({ address, value }) => [addressV4KeyOf(address), value]),
  );
  await tables.addressesV6.writeBatch(
    entries.filter(isV6).map(({ address, value }) => [addressV6KeyOf(address), value]),
  );
}

async function writeServices(tables: Tables, batch: Batch, pair: PairOf): Promise<void> {
  const entries = batch.services.map(({ frontend, identity }) => ({
    ...frontendFrom(frontend),
    value: pairOrAbsent(identity, pair),
  }));
  await tables.servicesV4.writeBatch(
    entries.filter(isV4).map(({ address, place, value }) => [serviceV4KeyOf(address, place), value]),
  );
  await tables.servicesV6.writeBatch(
    entries.filter(isV6).map(({ address, place, value }) => [serviceV6KeyOf(address, place), value]),
  );
}

/** A value that may exist in one version only. */
function pairOrAbsent(
  identity: Versions<number | typeof ABSENT>,
  pair: PairOf,
): { readonly number: Pair<number> } {
  const number = (value: number | typeof ABSENT) => (value === ABSENT ? IDENTITY_ABSENT : value);
  return { number: pair({ live: number(identity.live), next: number(identity.next) }) };
}

async function writeSources(tables: Tables, batch: Batch, pair: PairOf): Promise<void> {
  const entries = batch.sources.map(({ ifindex, cidr, live, next }) => ({
    ifindex,
    cidr: cidrFrom(cidr),
    value: { allowed: pair({ live: Number(live), next: Number(next) }) },
  }));
  const [v4, v6] = byFamily(entries);
  await tables.sourcesV4.writeBatch(
    v4.map(({ ifindex, cidr, value }) => [sourceV4KeyOf(ifindex, cidr), value]),
  );
  await tables.sourcesV6.writeBatch(
    v6.map(({ ifindex, cidr, value }) => [sourceV6KeyOf(ifindex, cidr), value]),
  );
}

const byFamily = <T extends { readonly cidr: Cidr }>(entries: readonly T[]): [v4: T[], v6: T[]] => [
  entries.filter(({ cidr }) => cidr.family === 4),
  entries.filter(({ cidr }) => cidr.family === 6),
];

/** Must be written after the endpoints of these sources. */
export async function removeAddressed(
  tables: Tables,
  index: CidrIndex,
  gone: Batch["remove"],
): Promise<void> {
  const sources = gone.sources.map(({ ifindex, cidr }) => ({ ifindex, cidr: cidrFrom(cidr) }));
  const [v4, v6] = byFamily(sources);
  await tables.sourcesV4.deleteBatch(v4.map(({ ifindex, cidr }) => sourceV4KeyOf(ifindex, cidr)));
  await tables.sourcesV6.deleteBatch(v6.map(({ ifindex, cidr }) => sourceV6KeyOf(ifindex, cidr)));
  const addresses = gone.addresses.map(addressFrom);
  await tables.addressesV4.deleteBatch(addresses.filter(({ family }) => family === 4).map(addressV4KeyOf));
  await tables.addressesV6.deleteBatch(addresses.filter(({ family }) => family === 6).map(addressV6KeyOf));
  const frontends = gone.services.map(frontendFrom);
  await tables.servicesV4.deleteBatch(
    frontends.filter(isV4).map(({ address, place }) => serviceV4KeyOf(address, place)),
  );
  await tables.servicesV6.deleteBatch(
    frontends.filter(isV6).map(({ address, place }) => serviceV6KeyOf(address, place)),
  );
  const cidrs = gone.cidrs.map(cidrFrom);
  const cidrsV4 = cidrs.filter(({ family }) => family === 4);
  await tables.cidrsV4.deleteBatch(cidrsV4.map(cidrV4KeyOf));
  await index.remove(cidrsV4);
  await tables.cidrsV6.deleteBatch(cidrs.filter(({ family }) => family === 6).map(cidrV6KeyOf));
}

/** Address and place from the key in a state. */
function frontendFrom(key: string): { readonly address: Address; readonly place: number } {
  const { address, place } = serviceFrom(key);
  return { address: addressFrom(address), place };
}

/** An address from its canonical text in a state. */
export function addressFrom(text: string): Address {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(`assertion failed: state holds the address ${text}: ${parsed.reason}`);
  return addressOf(parsed.value.family, parsed.value.value);
}
