// The layout that an object's BTF describes: everything that C and TypeScript share, and a digest of it.

import { createHash } from "node:crypto";
import { type Btf, type BtfMember, type BtfType, MapType } from "bpf-ts";
import {
  type Enum,
  type FieldType,
  nameOf,
  readType,
  refusal,
  resolve,
  type Struct,
  sizeOf,
  type TypeReader,
  typeReader,
} from "./btf-types.ts";

export interface Layout {
  /** Every struct that is a key or a value of a map, and nested ones; a struct comes after its parts. */
  readonly structs: readonly Struct[];
  readonly enums: readonly Enum[];
  /** The values of enums without a name. */
  readonly constants: ReadonlyMap<string, number>;
  readonly maps: readonly MapLayout[];
}

/** The section whose variables anchor in BTF the types that no map's key or value contains: see bpf/layout.h. */
const ANCHOR_SECTION = ".layout";

/**
 * Reads the layout. Throws an OperationError for what cannot be shared: implicit padding, bitfields, unions, pointers,
 * structs without a name, and any object that is not little-endian.
 */
export function layoutOf(btf: Btf): Layout {
  requireLittleEndian(btf);
  const reader = typeReader(btf);
  const maps = readMaps(reader);
  for (const { typeId } of btf.find("datasec", ANCHOR_SECTION)?.variables ?? []) {
    const { type } = resolve(btf, btf.type(typeId)?.typeId ?? 0);
    if (type.kind !== "struct")
      throw refusal(`section ${ANCHOR_SECTION}`, "holds something else than structs");
    // The anchor itself is not shared: only its members' types are.
    for (const member of type.members ?? []) {
      readType(reader, member.typeId, `section ${ANCHOR_SECTION}, field ${member.name}`);
    }
  }
  const { structs, enums, constants } = reader;
  return { structs: [...structs.values()], enums: [...enums.values()], constants, maps };
}

/** The first two bytes of BTF are 0xeb9f in the object's own order. */
function requireLittleEndian(btf: Btf): void {
  if (btf.raw().readUInt16LE(0) === 0xeb9f) return;
  throw refusal("the object", "it is built for a big-endian machine; Weir runs on little-endian ones only");
}

/**
 * Sixteen hexadecimal digits of SHA-256 over everything shared. It changes with any field, offset, enum, constant, or
 * type, flag, key or value of a map; not with the order of declarations, nor with max_entries, which are defaults.
 */
export const digestOf = (layout: Layout): string =>
  createHash("sha256").update(canonicalText(layout)).digest("hex").slice(0, 16);

/** One line for each fact, sorted by name within each kind. */
function canonicalText(layout: Layout): string {
  const blocks = [
    ...layout.structs.map((struct) => structText(struct)),
    ...layout.enums.map((each) => enumText(each)),
    ...[...layout.constants].map(([name, value]) => `constant ${name} ${value}`),
    ...layout.maps.map((map) => `map ${mapText(map)}`),
  ];
  return `${blocks.sort().join("\n")}\n`;
}

const structText = ({ name, size, fields }: Struct): string =>
  [
    `struct ${name} ${size}`,
    ...fields.map((field) => `  ${field.offset} ${field.name} ${nameOf(field.type)}`),
  ].join("\n");

const enumText = ({ name, underlying, values }: Enum): string =>
  [`enum ${name} ${nameOf(underlying)}`, ...values.map((each) => `  ${each.name} ${each.value}`)].join("\n");

function mapText({ name, kind, flags, key, value, inner }: MapLayout): string {
  const element = (type: MapLayout["key"]) =>
    type === undefined ? "none" : `${nameOf(type)} ${sizeOf(type)}`;
  const own = `${name} ${kind} flags ${flags} key ${element(key)} value ${element(value)}`;
  return inner === undefined ? own : `${own} inner ${mapText(inner)}`;
}

// The maps that an object declares (libbpf's notation: a struct of pointers in section .maps), read from BTF.

export interface MapLayout {
  readonly name: string;
  /** The kernel's number (enum bpf_map_type), and its name such as "lru-hash". */
  readonly type: number;
  readonly kind: string;
  readonly flags: number;
  /** A default: the loader may choose another. */
  readonly maxEntries: number;
  /** Absent if the type of map has none (ring buffers). */
  readonly key?: FieldType;
  /** In a map of maps: the value that represents the inner map. */
  readonly value?: FieldType;
  readonly inner?: MapLayout;
}

const KINDS: ReadonlyMap<number, string> = new Map(
  Object.entries(MapType).map(([name, number]) => [number, name.toLowerCase().replaceAll("_", "-")]),
);
const MAP_NUMBER: FieldType = { kind: "integer", bytes: 4, signed: false, order: "host" };

/** In declaration order. Throws an OperationError that names the map and the field that it cannot read. */
export function readMaps(reader: TypeReader): MapLayout[] {
  const section = reader.btf.find("datasec", ".maps");
  return (section?.variables ?? []).map(({ typeId }) => {
    const variable = reader.btf.type(typeId);
    if (variable === undefined) throw refusal(`type ${typeId}`, "the object's BTF has no such type");
    return readMap(reader, variable.name, resolve(reader.btf, variable.typeId ?? 0).type);
  });
}

function readMap(reader: TypeReader, name: string, definition: BtfType): MapLayout {
  const numbers = { type: 0, map_flags: 0, max_entries: 0 };
  const types: { key?: FieldType; value?: FieldType; inner?: MapLayout } = {};
  for (const member of definition.members ?? []) {
    const place = `map ${name}, ${member.name}`;
    switch (member.name) {
      case "type":
      case "map_flags":
      case "max_entries":
        numbers[member.name] = arrayOf(reader, pointedAt(reader, member.typeId, place), place).length ?? 0;
        break;
      case "key":
      case "value":
        types[member.name] = readElement(reader, pointedAt(reader, member.typeId, place), place);
        break;
      case "values":
        types.value = MAP_NUMBER;
        types.inner = readInner(reader, name, member);
        break;
      default:
        throw refusal(place, "not understood: type, max_entries, map_flags, key, value and values are");
    }
  }
  const kind = KINDS.get(numbers.type);
  if (kind === undefined) throw refusal(`map ${name}, type`, `${numbers.type} is no known type of map`);
  return {
    name,
    type: numbers.type,
    kind,
    flags: numbers.map_flags,
    maxEntries: numbers.max_entries,
    ...types,
  };
}

function readElement(reader: TypeReader, typeId: number, place: string): FieldType {
  const type = readType(reader, typeId, place);
  if (type.kind === "array") throw refusal(place, "an array; put it into a struct");
  if (sizeOf(type) === 0) throw refusal(place, "a type without bytes");
  return type;
}

/** `__array(values, struct inner)` is an array of pointers to the inner map's definition. */
function readInner(reader: TypeReader, name: string, member: BtfMember): MapLayout {
  const place = `map ${name}, ${member.name}`;
  const pointer = arrayOf(reader, member.typeId, place).typeId ?? 0;
  const { type } = resolve(reader.btf, pointedAt(reader, pointer, place));
  if (type.kind !== "struct") throw refusal(place, "does not say what the inner maps are");
  return readMap(reader, type.name || `${name} (inner)`, type);
}

function pointedAt(reader: TypeReader, typeId: number, place: string): number {
  const { type } = resolve(reader.btf, typeId);
  if (type.kind !== "ptr") throw refusal(place, "declare it by __uint, __type or __array");
  return type.typeId ?? 0;
}

/** `__uint(name, 3)` is a pointer to an array of 3 elements. */
function arrayOf(reader: TypeReader, typeId: number, place: string): BtfType {
  const { type } = resolve(reader.btf, typeId);
  if (type.kind !== "array") throw refusal(place, "declare it by __uint, __type or __array");
  return type;
}
