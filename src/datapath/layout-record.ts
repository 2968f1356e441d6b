// What a later build needs to convert this one's flows and resolved addresses: the layout of the tables that they are read from, as
// JSON in a map pinned beside them. The kernel has the types too, but shows BTF by id to CAP_SYS_ADMIN only.

import { BpfMap, MapType } from "bpf-ts";
import { ensurePinned, openPin } from "./bpffs.ts";
import type { Layout } from "./btf-layout.ts";
import { type Enum, type FieldType, type Integer, type Struct, sizeOf } from "./btf-types.ts";
import { layoutRecordPath } from "./pins.ts";

/** Increment this if a field keeps its name and type but changes its meaning. */
const VERSION = 1;

/** The same for what no type says of the flow table: how keys are hashed and mixed. Layouts before that table have none. */
export const FLOW_TABLE_SCHEME = 1;

const RECORDED = ["conntrack_v4", "conntrack_v6", "flow_secret", "endpoints", "node", "names"] as const;
/** Types of no map: the flow table holds keys as words. */
const RECORDED_STRUCTS = ["flow_v4_key", "flow_v6_key"] as const;
export type RecordedMap = (typeof RECORDED)[number];

interface Element {
  readonly key: FieldType;
  readonly value: FieldType;
}

export interface LayoutRecord {
  readonly version: number;
  readonly flowTable?: number;
  /** Of the bits of an entry of the flow table. */
  readonly constants?: Readonly<Record<string, number>>;
  readonly maps: { readonly [name in RecordedMap]?: Element };
  readonly structs: { readonly [name: string]: Struct };
  readonly enums: { readonly [name: string]: Enum };
}

export function recordOf({ maps, structs, enums, constants }: Layout): LayoutRecord {
  const recorded = RECORDED.flatMap((name) => {
    const map = maps.find((each) => each.name === name);
    return map?.key === undefined || map.value === undefined ? [] : [[name, map.key, map.value] as const];
  });
  const needed: { structs: Record<string, Struct>; enums: Record<string, Enum> } = { structs: {}, enums: {} };
  const add = (type: FieldType): void => {
    if (type.kind === "array") add(type.element);
    if (type.kind === "enum") {
      for (const each of enums) if (each.name === type.name) needed.enums[each.name] = each;
    }
    if (type.kind !== "struct") return;
    for (const struct of structs) {
      if (struct.name !== type.name) continue;
      needed.structs[struct.name] = struct;
      for (const field of struct.fields) add(field.type);
    }
  };
  for (const [, key, value] of recorded) for (const type of [key, value]) add(type);
  for (const name of RECORDED_STRUCTS) add({ kind: "struct", name, size: 0 });
  // Fields of flows without a field of this type.
  for (const each of enums)
    if (each.name === "flow_state" || each.name === "direction") needed.enums[each.name] = each;
  return {
    version: VERSION,
    flowTable: FLOW_TABLE_SCHEME,
    constants: Object.fromEntries([...constants].filter(([name]) => name.startsWith("FLOW_"))),
    maps: Object.fromEntries(recorded.map(([name, key, value]) => [name, { key, value }])),
    ...needed,
  };
}

/** A map that holds the record: the one that is pinned, or a new one. It must be closed. Errors: BpfError. */
export function openRecord(root: string, digest: string, layout: Layout): BpfMap {
  const text = Buffer.from(JSON.stringify(recordOf(layout)));
  const there = openPin("map", layoutRecordPath(root, digest));
  if (there?.info.valueSize === text.length && there.lookup(FIRST)?.equals(text) === true) return there;
  there?.close();
  const spec = { type: MapType.ARRAY, name: "weir_layout", keySize: 4, maxEntries: 1 };
  const map = BpfMap.create({ ...spec, valueSize: text.length });
  map.update(FIRST, text);
  return map;
}

const FIRST = new Uint8Array(4);

/** Returns whether it was not pinned. Errors: OperationError, BpfError. */
export const pinRecord = (root: string, digest: string, map: BpfMap): boolean =>
  ensurePinned("map", map, layoutRecordPath(root, digest));

/** The record of a layout that has pins; undefined if there is none, or this build cannot read it. Errors: BpfError. */
export function readRecord(root: string, digest: string): LayoutRecord | undefined {
  using map = openPin("map", layoutRecordPath(root, digest));
  const text = map?.lookup(FIRST);
  if (text === undefined) return undefined;
  const record = JSON.parse(text.toString()) as LayoutRecord;
  return record.version === VERSION ? record : undefined;
}

/** A value as a codec of src/gen/layout.ts decodes it: field names in camel case, 64-bit integers as bigint. */
export type Decoded = number | bigint | readonly Decoded[] | { readonly [field: string]: Decoded };

const camelCase = (name: string): string =>
  name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

export function decode(record: LayoutRecord, type: FieldType, view: DataView, offset: number): Decoded {
  switch (type.kind) {
    case "integer":
      return integer(type, view, offset);
    case "enum":
      return integer(type.underlying, view, offset);
    case "array": {
      const size = sizeOf(type.element);
      return Array.from({ length: type.length }, (_, at) =>
        decode(record, type.element, view, offset + at * size),
      );
    }
    case "struct":
      return Object.fromEntries(
        (record.structs[type.name]?.fields ?? []).map((field) => [
          camelCase(field.name),
          decode(record, field.type, view, offset + field.offset),
        ]),
      );
  }
}

function integer({ bytes, order }: Integer, view: DataView, offset: number): number | bigint {
  const little = order === "host";
  switch (bytes) {
    case 1:
      return view.getUint8(offset);
    case 2:
      return view.getUint16(offset, little);
    case 4:
      return view.getUint32(offset, little);
    case 8:
      return view.getBigUint64(offset, little);
  }
}
