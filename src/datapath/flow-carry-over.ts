// Converts flows of other flow tables to this one: those of an earlier build, whose maps have another layout, and those of a table of another
// size. So connections survive an upgrade, and a change of the option.

import { join, relative } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { BpfMap, MapType } from "bpf-ts";
import { messageOf } from "../base/errors.ts";
import {
  DIRECTION_NAMES,
  FLOW_STATE_NAMES,
  FlowResult,
  type FlowSecret,
  LAYOUT_DIGEST,
} from "../gen/layout.ts";
import { type Struct, sizeOf } from "./btf-types.ts";
import { addressesOfEndpoint, type EndpointAddresses, ownerOf } from "./codec.ts";
import { addition, type FlowKey, type NewFlow, runRequests } from "./flow-requests.ts";
import {
  type BucketShape,
  type DataBits,
  FLOW_TABLES,
  flowsInTurns,
  type TableName,
  type TableSource,
  ticksOf,
} from "./flow-table.ts";
import { earlierTables } from "./flow-table-pins.ts";
import {
  type Decoded,
  decode,
  FLOW_TABLE_SCHEME,
  type LayoutRecord,
  type RecordedMap,
  readRecord,
} from "./layout-record.ts";
import { ticksNow } from "./node-settings.ts";
import { mapPath, otherLayouts, otherMapPath } from "./pins.ts";
import type { Datapath } from "./program-loader.ts";

/** An endpoint as the earlier build numbered it. */
export interface EarlierEndpoint {
  readonly ifindex: number;
  readonly incarnation: number;
  readonly addresses: readonly string[];
}

export interface CarriedFlows {
  /** Where they were, below the root of the pins. */
  readonly layout: string;
  readonly flows: number;
  /** Flows of pods that are gone, or expired flows. */
  readonly ended: number;
  /** Flows that could not be converted. */
  readonly lost: number;
  /** Why. */
  readonly reason?: string;
}

export interface CarryOver {
  readonly lastIncarnation: number;
  readonly endpoints: readonly EarlierEndpoint[];
  /**
   * Writes the flows of these pods that the tables do not have; counts all of these pods, also those that a previous call has written. They get
   * the previous generation, so that the current policies judge their next packet. Never throws: errors are in the result.
   */
  copy(tenants: TenantsByPod, generation: number): Promise<readonly CarriedFlows[]>;
}

/** Incarnation to the tenant of its endpoints. */
export type TenantsByPod = ReadonlyMap<number, number>;

/** What other builds, or another size of the tables, have left under the pin root, the latest first; undefined if there is nothing. */
export async function openCarryOver(datapath: Datapath): Promise<CarryOver | undefined> {
  const { root } = datapath;
  const resized = earlierTables(root).map((directory) =>
    openEarlier(datapath, resizedPlace(root, directory)),
  );
  const others = otherLayouts(root).map((digest) => openEarlier(datapath, otherPlace(root, digest)));
  const places = await Promise.all([...others, ...resized]);
  if (places.length === 0) return undefined;
  places.sort((a, b) => b.lastIncarnation - a.lastIncarnation);
  const [latest] = places;
  return {
    lastIncarnation: latest?.lastIncarnation ?? 0,
    endpoints: latest?.endpoints ?? [],
    async copy(tenants, generation) {
      const results: CarriedFlows[] = [];
      for (const place of places) results.push(await place.copy(tenants, generation));
      return results;
    },
  };
}

/** Where earlier flows are. */
interface Place {
  readonly layout: string;
  readonly digest: string;
  /** Whether pods have other numbers there. */
  readonly isOther: boolean;
  path(map: RecordedMap): string;
}

const otherPlace = (root: string, digest: string): Place => ({
  layout: digest,
  digest,
  isOther: true,
  path: (map) => otherMapPath(root, digest, map),
});

const resizedPlace = (root: string, directory: string): Place => ({
  layout: relative(root, directory),
  digest: LAYOUT_DIGEST,
  isOther: false,
  path: (map) => (map === "node" || map === "endpoints" ? mapPath(root, map) : join(directory, map)),
});

interface Earlier {
  readonly lastIncarnation: number;
  readonly endpoints: readonly EarlierEndpoint[];
  copy(tenants: TenantsByPod, generation: number): Promise<CarriedFlows>;
}

const FULL = "the flow table has no place for them";

async function openEarlier(datapath: Datapath, place: Place): Promise<Earlier> {
  const { layout } = place;
  try {
    const record = readRecord(datapath.root, place.digest);
    if (record === undefined) throw new Error("its layout is not known");
    const [node] = await readEntries(record, "node", place.path("node"));
    const endpoints = place.isOther
      ? [...(await readEntries(record, "endpoints", place.path("endpoints")))].map(([, value]) =>
          endpointFrom(value),
        )
      : [];
    return {
      lastIncarnation: place.isOther ? numberIn(node?.[1], "lastIncarnation") : 0,
      endpoints: endpoints.filter(({ ifindex }) => ifindex !== 0),
      async copy(tenants, generation) {
        const all = { flows: 0, ended: 0, lost: 0 };
        try {
          for (const name of FLOW_TABLES) {
            const convert = converter(record, {
              tenants,
              generation,
              now: ticksNow(datapath.ticksPerSecond),
            });
            const done = await copyTable(datapath, { place, record, name, node: node?.[1] }, convert);
            all.flows += done.flows;
            all.lost += done.refused;
            all.ended += done.ended;
          }
          return { layout, ...all, ...(all.lost === 0 ? {} : { reason: FULL }) };
        } catch (error) {
          const lost = await countFlows(place);
          return { layout, ...all, lost: Math.max(0, lost - all.flows), reason: messageOf(error) };
        }
      },
    };
  } catch (error) {
    const reason = messageOf(error);
    return {
      lastIncarnation: 0,
      endpoints: [],
      copy: async () => ({ layout, flows: 0, ended: 0, lost: await countFlows(place), reason }),
    };
  }
}

type Entry = readonly [key: Decoded, value: Decoded];

/** Decodes the entries one by one: a full table as objects takes ten times its bytes. */
async function readEntries(
  record: LayoutRecord,
  name: RecordedMap,
  path: string,
): Promise<IterableIterator<Entry>> {
  const element = record.maps[name];
  if (element === undefined) throw new Error(`its layout has no map ${name}`);
  using map = BpfMap.openPinned(path);
  const { count, keys, values } = await map.entries();
  const [keyView, valueView] = [keys, values].map(viewOf) as [DataView, DataView];
  const { keySize, lookupSize } = map.info;
  return (function* () {
    for (let at = 0; at < count; at++) {
      const key = decode(record, element.key, keyView, at * keySize);
      yield [key, decode(record, element.value, valueView, at * lookupSize)] as const;
    }
  })();
}

const viewOf = ({ buffer, byteOffset, byteLength }: Buffer): DataView =>
  new DataView(buffer, byteOffset, byteLength);

/** A flow of any layout, its numbers as that layout has them. */
interface EarlierFlow {
  readonly key: Decoded;
  /** In ticks. */
  readonly expires: bigint;
  readonly opener: number;
  readonly state: number;
}

interface EarlierTable {
  readonly place: Place;
  readonly record: LayoutRecord;
  readonly name: TableName;
  readonly node: Decoded | undefined;
}

/** What must be closed after the flows have been read. */
interface OpenFlows extends Disposable {
  readonly flows: Iterable<EarlierFlow> | AsyncIterable<EarlierFlow>;
}

const openFlows = (table: EarlierTable): OpenFlows | Promise<OpenFlows> =>
  table.record.flowTable === undefined ? openLruHash(table) : openFlowTable(table);

/** Layouts until the flow table of our own had an LRU hash of the kernel's, from keys to flows. */
async function openLruHash({ place, record, name }: EarlierTable): Promise<OpenFlows> {
  const entries = await readEntries(record, name, place.path(name));
  return {
    flows: (function* () {
      for (const [key, value] of entries)
        yield {
          key,
          expires: bigintIn(value, "expires"),
          opener: numberIn(value, "opener"),
          state: numberIn(value, "state"),
        };
    })(),
    [Symbol.dispose]: () => undefined,
  };
}

function openFlowTable({ place, record, name, node }: EarlierTable): OpenFlows {
  if (record.flowTable !== FLOW_TABLE_SCHEME)
    throw new Error(`its flow table is of scheme ${record.flowTable}, which this build does not know`);
  const bits = bitsIn(record);
  const unitShift = numberIn(node, "unitShift");
  const secret = secretOf(record, place);
  const shape = shapeIn(record, name);
  using map = BpfMap.openPinned(place.path(name));
  // Last: what throws after it would leave the table mapped.
  const memory = map.mmap();
  const source: TableSource = { memory, secret, shape, bits };
  const keyType = { kind: "struct", name: KEY_TYPES[name], size: shape.keySize } as const;
  return {
    flows: (async function* () {
      for await (const { key, expires, opener, state } of flowsInTurns(source, nextTurn))
        yield {
          key: decode(record, keyType, key, 0),
          expires: ticksOf(expires, unitShift, bits),
          opener,
          state,
        };
    })(),
    [Symbol.dispose]: () => memory[Symbol.dispose](),
  };
}

const KEY_TYPES: Readonly<Record<TableName, string>> = {
  conntrack_v4: "flow_v4_key",
  conntrack_v6: "flow_v6_key",
};

function secretOf(record: LayoutRecord, { path }: Place): FlowSecret {
  const type = record.maps.flow_secret?.value;
  if (type === undefined) throw new Error("its layout has no map flow_secret");
  using map = BpfMap.openPinned(path("flow_secret"));
  const bytes = map.lookup(new Uint8Array(map.info.keySize));
  if (bytes === undefined) throw new Error("its flow table has no secret");
  // Equal schemes have equal fields.
  return decode(record, type, viewOf(bytes), 0) as unknown as FlowSecret;
}

function structIn({ structs }: LayoutRecord, name: string): Struct {
  const struct = structs[name];
  if (struct === undefined) throw new Error(`its layout has no struct ${name}`);
  return struct;
}

function placeIn({ name, fields }: Struct, field: string) {
  const found = fields.find((each) => each.name === field);
  if (found === undefined) throw new Error(`its struct ${name} has no field ${field}`);
  return found;
}

function shapeIn(record: LayoutRecord, name: TableName): BucketShape {
  const value = record.maps[name]?.value;
  if (value?.kind !== "struct") throw new Error(`its layout has no buckets of ${name}`);
  const bucket = structIn(record, value.name);
  const entries = placeIn(bucket, "entries");
  if (entries.type.kind !== "array" || entries.type.element.kind !== "struct")
    throw new Error(`its struct ${bucket.name} has no entries`);
  const entry = structIn(record, entries.type.element.name);
  const key = placeIn(entry, "key");
  return {
    size: bucket.size,
    entries: entries.type.length,
    entriesAt: entries.offset,
    entrySize: entry.size,
    dataAt: placeIn(entry, "data").offset,
    keyAt: key.offset,
    keySize: sizeOf(key.type),
  };
}

function bitsIn({ constants = {} }: LayoutRecord): DataBits {
  const constant = (name: string): number => {
    const value = constants[name];
    if (value === undefined) throw new Error(`its layout has no constant ${name}`);
    return value;
  };
  return {
    expiresBits: constant("FLOW_EXPIRES_BITS"),
    stampAt: constant("FLOW_STAMP_AT"),
    stampBits: constant("FLOW_STAMP_BITS"),
    stateAt: constant("FLOW_STATE_AT"),
    stateBits: constant("FLOW_STATE_BITS"),
    openerAt: constant("FLOW_OPENER_AT"),
    nonceAt: constant("FLOW_NONCE_AT"),
    epoch: constant("FLOW_EPOCH"),
  };
}

/** Of a flow table, whose layout may not be known, the buckets in use: that many flows at least. A map that cannot be read counts as empty. Never throws. */
async function countFlows({ path }: Place): Promise<number> {
  let sum = 0;
  for (const name of FLOW_TABLES) {
    try {
      using map = BpfMap.openPinned(path(name));
      const { count, values } = await map.entries();
      sum += map.info.type === MapType.ARRAY ? usedIn(values, map.info.lookupSize) : count;
    } catch {
      // Gone, or no map that can be read.
    }
  }
  return sum;
}

/** Elements with any byte that is not zero. */
function usedIn(values: Buffer, size: number): number {
  const free = Buffer.alloc(size);
  let used = 0;
  for (let at = 0; at < values.length; at += size)
    if (values.compare(free, 0, size, at, at + size) !== 0) used += 1;
  return used;
}

function fieldIn(value: Decoded | undefined, name: string): Decoded {
  const field =
    typeof value === "object" && !Array.isArray(value)
      ? (value as { readonly [field: string]: Decoded })[name]
      : undefined;
  if (field === undefined) throw new Error(`its layout has no field ${name}`);
  return field;
}

function numberIn(value: Decoded | undefined, name: string): number {
  const field = fieldIn(value, name);
  if (typeof field !== "number")
    throw new Error(`in its layout the field ${name} is no number of up to 32 bits`);
  return field;
}

function bigintIn(value: Decoded, name: string): bigint {
  const field = fieldIn(value, name);
  if (typeof field !== "bigint") throw new Error(`in its layout the field ${name} is no number of 64 bits`);
  return field;
}

const ADDRESS_FIELDS = ["addressesV4Used", "addressesV6Used", "addressesV4", "addressesV6"] as const;

function endpointFrom(value: Decoded): EarlierEndpoint {
  // Lists of addresses are as this build has them, or fail in addressesOfEndpoint.
  const addresses = Object.fromEntries(
    ADDRESS_FIELDS.map((name) => [name, fieldIn(value, name)]),
  ) as unknown as EndpointAddresses;
  return {
    ifindex: numberIn(value, "ifindex"),
    incarnation: numberIn(value, "incarnation"),
    addresses: addressesOfEndpoint(addresses).map(({ text }) => text),
  };
}

interface Conversion {
  readonly tenants: TenantsByPod;
  readonly generation: number;
  /** In ticks. */
  readonly now: bigint;
}

type Convert = (flow: EarlierFlow) => NewFlow | undefined;

/** The flow in this build's numbers; undefined if it has expired or its pod is gone. Throws if the earlier layout has no such field or value. */
function converter(record: LayoutRecord, { tenants, generation, now }: Conversion): Convert {
  const openers = numbersBetween(record, "direction", DIRECTION_NAMES);
  const states = numbersBetween(record, "flow_state", FLOW_STATE_NAMES);
  return ({ key, expires, opener: openerBefore, state: stateBefore }) => {
    const tenant = tenants.get(ownerOf(numberIn(key, "owner")).incarnation);
    if (expires <= now || tenant === undefined) return undefined;
    const opener = openers.get(openerBefore);
    if (opener === undefined) throw new Error("a flow has an unknown opener");
    const state = [...states].reduce((sum, [old, bit]) => sum + ((stateBefore & old) === 0 ? 0 : bit), 0);
    return {
      expires,
      generation: (generation - 1) >>> 0,
      opener: opener as NewFlow["opener"],
      state,
      tenant,
    };
  };
}

/** The numbers of an enum in the record to those of this build, by their names. */
function numbersBetween(
  { enums }: LayoutRecord,
  name: string,
  names: { readonly [number: number]: string },
): ReadonlyMap<number, number> {
  const earlier = enums[name]?.values ?? [];
  return new Map(
    Object.entries(names).flatMap(([number, text]) => {
      const found = earlier.find((each) => each.name === constantName(name, text));
      return found === undefined ? [] : [[found.value, Number(number)] as const];
    }),
  );
}

/** Names in src/gen/layout.ts are without the enum's prefix, in lower case. */
const PREFIXES: { readonly [name: string]: string } = { direction: "DIRECTION_", flow_state: "FLOW_" };
const constantName = (name: string, text: string): string =>
  `${PREFIXES[name] ?? ""}${text.toUpperCase().replaceAll("-", "_")}`;

/** Flows that are left out, after which others get a turn. */
const LEFT_OUT_AT_ONCE = 4_096;

/** Flows that the programs have made meanwhile are newer, and stay as they are. */
async function copyTable(
  { flowRequests }: Datapath,
  table: EarlierTable,
  convert: Convert,
): Promise<{ readonly flows: number; readonly ended: number; readonly refused: number }> {
  let ended = 0;
  using opened = await openFlows(table);
  async function* additions() {
    for await (const flow of opened.flows) {
      const value = convert(flow);
      if (value === undefined) {
        if (++ended % LEFT_OUT_AT_ONCE === 0) await nextTurn();
        continue;
      }
      // A field that is missing, or does not fit, is a RangeError or a TypeError of the codec.
      yield addition({ map: table.name, key: flow.key } as unknown as FlowKey, value);
    }
  }
  const results = await runRequests(flowRequests, additions());
  const flows = results.filter((each) => each === FlowResult.DONE || each === FlowResult.EXISTS).length;
  return { flows, ended, refused: results.length - flows };
}
