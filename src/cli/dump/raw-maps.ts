// Reading maps as bytes: what `--raw` shows, and how full they are.

import { tableUse } from "../../datapath/flow-reader.ts";
import {
  FLOW_TABLES,
  type TableName as FlowTableName,
  flowsIn,
  flowTimeOf,
} from "../../datapath/flow-table.ts";
import { openTable } from "../../datapath/flow-table-pins.ts";
import { ticksNow } from "../../datapath/node-settings.ts";
import type { Pins } from "../../datapath/pins.ts";
import { type NestedName, type NestedTable, nestedTableOf, tableOf } from "../../datapath/typed-maps.ts";
import { type Codec, flowV4KeyCodec, flowV6KeyCodec, MAPS } from "../../gen/layout.ts";
import type { RawEntry, RawMap, RawType } from "../../observe/dump/map-dump.ts";
import type { TableInfo } from "../../observe/dump/map-tables.ts";
import { POLICY_NONE } from "../../state/desired-state.ts";
import { type Kernel, unreadable } from "../pinned-maps.ts";

/** The ring buffer has no entries. */
type MapName = Exclude<keyof typeof MAPS, "events">;

export const mapNamesOf = ({ maps }: TableInfo): readonly MapName[] =>
  maps.filter((name): name is MapName => name in MAPS && name !== "events");

/** "struct cidr_v4_key", "u32"; of per-CPU maps, one value for each possible CPU. */
export function typeText(codec: Codec<unknown>, values = 1): string {
  const name = /^[us][0-9]+$/.test(codec.name) ? codec.name : `struct ${codec.name}`;
  return values === 1 ? name : `${values} x ${name}`;
}

/** Arrays always hold all their entries: those that were never written are left out. */
export async function readRaw(info: TableInfo, pins: Pins): Promise<RawMap[]> {
  const maps = await Promise.all(mapNamesOf(info).map((name) => rawMap(name, pins)));
  const inner = await Promise.all(
    mapNamesOf(info)
      .filter(isNested)
      .map((name) => rawInner(name, pins)),
  );
  return [...maps, ...inner.flat()];
}

export async function rawMap(name: MapName, pins: Pins): Promise<RawMap> {
  if (isFlowTable(name)) return rawFlows(name, pins);
  const map = pins.map(name);
  const { kind, key, value } = MAPS[name];
  const { keySize, valueSize, lookupSize } = map.info;
  const { count, keys, values } = await map.entries();
  const isArray = kind.endsWith("array");
  const isShown = (at: number): boolean =>
    !isArray || values.subarray(at * lookupSize, (at + 1) * lookupSize).some((byte) => byte !== 0);
  const shown: number[] = [];
  for (let at = 0; at < count; at++) if (isShown(at)) shown.push(at);
  function* entries(): Iterator<RawEntry> {
    for (const at of shown)
      yield {
        key: keys.subarray(at * keySize, (at + 1) * keySize),
        value: values.subarray(at * lookupSize, (at + 1) * lookupSize),
      };
  }
  return {
    map: name,
    kind,
    key: { type: typeText(key), size: keySize },
    value: { type: typeText(value, Math.round(lookupSize / valueSize)), size: lookupSize },
    count: shown.length,
    entries: { [Symbol.iterator]: entries },
  };
}

/** Entries of a map, and how many it has room for; of a flow table, flows that have not expired. */
export async function sizeOfMap(
  name: MapName,
  { pins, table }: Kernel,
): Promise<{ readonly entries: number; readonly max: number }> {
  if (!isFlowTable(name))
    return { entries: (await rawMap(name, pins)).count, max: pins.map(name).info.maxEntries };
  const { unitShift = 0, ticksPerSecond = 0 } = table("node").get(0) ?? {};
  const clock = { unitShift, now: ticksNow(ticksPerSecond) };
  const { live, places } = await tableUse(name, pins.map, clock, () => Promise.resolve());
  return { entries: live, max: places };
}

const isFlowTable = (name: MapName): name is FlowTableName =>
  (FLOW_TABLES as readonly MapName[]).includes(name);

const DATA_BYTES = 8;
const FLOW_KEYS = { conntrack_v4: flowV4KeyCodec, conntrack_v6: flowV6KeyCodec } as const;

function flowTimeNow(pins: Pins): number {
  const { unitShift = 0, ticksPerSecond = 0 } = tableOf("node", pins.map("node")).get(0) ?? {};
  return flowTimeOf(ticksNow(ticksPerSecond), unitShift);
}

/** Flows that have not expired. Keys as they are; those in the map's own bytes are mixed with the table's secret, and would show it. */
function rawFlows(name: FlowTableName, pins: Pins): RawMap {
  const source = openTable(name, pins.map);
  using _ = source.memory;
  const entries: RawEntry[] = [];
  const now = flowTimeNow(pins);
  for (const { key, data, expires } of flowsIn(source)) {
    if (expires <= now) continue;
    const value = Buffer.alloc(DATA_BYTES);
    value.writeBigUInt64LE(data);
    entries.push({ key: Buffer.from(new Uint8Array(key.buffer, key.byteOffset, key.byteLength)), value });
  }
  return {
    map: name,
    kind: MAPS[name].kind,
    key: rawType(FLOW_KEYS[name]),
    value: { type: "u64", size: DATA_BYTES },
    count: entries.length,
    entries,
  };
}

const isNested = (name: MapName): name is NestedName => "inner" in MAPS[name];

/** The maps inside a map of maps, whose values are map ids. */
async function rawInner(name: NestedName, pins: Pins): Promise<RawMap[]> {
  const inner: { readonly kind: string; readonly key: Codec<unknown>; readonly value: Codec<unknown> } =
    MAPS[name].inner;
  const outer: NestedTable<unknown, unknown> = nestedTableOf(name, pins.map(name), pins.inner(name));
  const maps: RawMap[] = [];
  for await (const [number, table] of outer.all()) {
    if (name === "policy" && number === POLICY_NONE) continue;
    if (table === undefined) throw unreadable(`${name}[${number}]`);
    const cells = await table.read({ skipZero: inner.kind.endsWith("array") });
    maps.push({
      map: `${name}[${number}]`,
      kind: inner.kind,
      key: rawType(inner.key),
      value: rawType(inner.value),
      count: cells.length,
      entries: cells.map(([key, value]) => ({
        key: packed(inner.key, key),
        value: packed(inner.value, value),
      })),
    });
  }
  return maps;
}

const rawType = (codec: Codec<unknown>): RawType => ({ type: typeText(codec), size: codec.size });

function packed<T>(codec: Codec<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(codec.size);
  codec.encode(value, new DataView(bytes.buffer), 0);
  return bytes;
}
