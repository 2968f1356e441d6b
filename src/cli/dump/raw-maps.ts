// Reading maps as bytes: what `--raw` shows, and how full they are.

import type { Pins } from "../../datapath/pins.ts";
import { type NestedName, type NestedTable, nestedTableOf } from "../../datapath/typed-maps.ts";
import { type Codec, MAPS } from "../../gen/layout.ts";
import type { RawEntry, RawMap, RawType } from "../../observe/dump/map-dump.ts";
import type { TableInfo } from "../../observe/dump/map-tables.ts";
import { POLICY_NONE } from "../../state/desired-state.ts";
import { unreadable } from "../pinned-maps.ts";

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
