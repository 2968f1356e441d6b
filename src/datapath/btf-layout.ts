// The layout that an object's BTF describes: all that crosses between C and TypeScript, and a digest of it.

import { createHash } from "node:crypto";
import type { Btf } from "bpf-ts";
import { type MapLayout, readMaps } from "./btf-maps.ts";
import {
  type Enum,
  nameOf,
  readType,
  refusal,
  resolve,
  type Struct,
  sizeOf,
  typeReader,
} from "./btf-types.ts";

export interface Layout {
  /** Every struct that is a key or a value of a map, and those inside; what a struct is made of comes before it. */
  readonly structs: readonly Struct[];
  readonly enums: readonly Enum[];
  /** The values of enums without a name. */
  readonly constants: ReadonlyMap<string, number>;
  readonly maps: readonly MapLayout[];
}

/** The section whose variables anchor in BTF what no map's key or value is made of: see bpf/layout.h. */
const ANCHOR_SECTION = ".layout";

/**
 * Reads the layout. Throws an OperationError for what cannot cross: implicit padding, bitfields, unions, pointers,
 * structs without a name, and all of an object that is not little-endian.
 */
export function layoutOf(btf: Btf): Layout {
  requireLittleEndian(btf);
  const reader = typeReader(btf);
  const maps = readMaps(reader);
  for (const { typeId } of btf.find("datasec", ANCHOR_SECTION)?.variables ?? []) {
    const { type } = resolve(btf, btf.type(typeId)?.typeId ?? 0);
    if (type.kind !== "struct")
      throw refusal(`section ${ANCHOR_SECTION}`, "holds something else than structs");
    // The anchor itself does not cross: only its members' types do.
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
 * Sixteen hexadecimal digits of SHA-256 over all that crosses. It changes with any field, offset, enum, constant, or
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
