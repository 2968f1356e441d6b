// The maps that an object declares (libbpf's notation: a struct of pointers in section .maps), read from BTF.

import { type BtfMember, type BtfType, MapType } from "bpf-ts";
import { type FieldType, readType, refusal, resolve, sizeOf, type TypeReader } from "./btf-types.ts";

export interface MapLayout {
  readonly name: string;
  /** The kernel's number (enum bpf_map_type), and its name as "lru-hash". */
  readonly type: number;
  readonly kind: string;
  readonly flags: number;
  /** A default: whoever loads the object may choose another. */
  readonly maxEntries: number;
  /** Absent where the type of map has none (ring buffers). */
  readonly key?: FieldType;
  /** Of a map of maps: the number that stands for the map inside. */
  readonly value?: FieldType;
  readonly inner?: MapLayout;
}

const KINDS: ReadonlyMap<number, string> = new Map(
  Object.entries(MapType).map(([name, number]) => [number, name.toLowerCase().replaceAll("_", "-")]),
);
const MAP_NUMBER: FieldType = { kind: "integer", bytes: 4, signed: false, order: "host" };

/** In the order of their declaration. Throws an OperationError that names the map and the field it cannot read. */
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
