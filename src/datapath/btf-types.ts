// The C types that TypeScript shares, read from BTF; rejects everything at which a codec could only guess.

import type { Btf, BtfMember, BtfType } from "bpf-ts";
import { OperationError } from "../base/errors.ts";

/** An integer. A `__be` typedef means network order; all others are in the object's own order. */
export interface Integer {
  readonly kind: "integer";
  readonly bytes: 1 | 2 | 4 | 8;
  readonly signed: boolean;
  readonly order: "host" | "network";
}

export interface ArrayOf {
  readonly kind: "array";
  readonly element: FieldType;
  readonly length: number;
}

/** Structs and named enums are referred to by name. */
export type FieldType =
  | Integer
  | ArrayOf
  | { readonly kind: "enum"; readonly name: string; readonly underlying: Integer }
  | { readonly kind: "struct"; readonly name: string; readonly size: number };

export interface Field {
  readonly name: string;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  readonly type: FieldType;
}

/** Its fields follow one another without a gap. */
export interface Struct {
  readonly name: string;
  readonly size: number;
  readonly fields: readonly Field[];
}

export interface Constant {
  readonly name: string;
  readonly value: number;
}

export interface Enum {
  readonly name: string;
  readonly underlying: Integer;
  readonly values: readonly Constant[];
}

/** What has been read so far; every type is read once, in the order of first use. */
export interface TypeReader {
  readonly btf: Btf;
  readonly structs: Map<string, Struct>;
  readonly enums: Map<string, Enum>;
  /** Values of enums without a name. */
  readonly constants: Map<string, number>;
  /** The BTF ids of the names, to distinguish types with the same name. */
  readonly ids: Map<string, number>;
}

export const typeReader = (btf: Btf): TypeReader => ({
  btf,
  structs: new Map(),
  enums: new Map(),
  constants: new Map(),
  ids: new Map(),
});

/** The error for a layout that cannot be shared; `place` names the struct and field, or the map. */
export const refusal = (place: string, reason: string): OperationError =>
  new OperationError(reason, { operation: "read layout of", object: place });

export function sizeOf(type: FieldType): number {
  switch (type.kind) {
    case "integer":
      return type.bytes;
    case "enum":
      return type.underlying.bytes;
    case "struct":
      return type.size;
    case "array":
      return type.length * sizeOf(type.element);
  }
}

/** The type's name in digests, comments and messages: "u32", "be16", "u32[2][2]", "struct endpoint". */
export function nameOf(type: FieldType): string {
  const lengths: number[] = [];
  let element = type;
  while (element.kind === "array") {
    lengths.push(element.length);
    element = element.element;
  }
  const suffix = lengths.map((length) => `[${length}]`).join("");
  if (element.kind !== "integer") return `${element.kind} ${element.name}${suffix}`;
  const prefix = element.order === "network" ? "be" : element.signed ? "i" : "u";
  return `${prefix}${element.bytes * 8}${suffix}`;
}

const NETWORK_ORDER = new Set(["__be16", "__be32", "__be64"]);
const TRANSPARENT = new Set(["typedef", "const", "volatile", "restrict", "typeTag"]);

/** The type behind typedefs and qualifiers, and whether one of the typedefs means network order. */
export function resolve(btf: Btf, typeId: number): { type: BtfType; networkOrder: boolean } {
  let networkOrder = false;
  for (let id = typeId; ; ) {
    const type = btf.type(id);
    if (type === undefined) throw refusal(`type ${id}`, "the object's BTF has no such type");
    if (!TRANSPARENT.has(type.kind)) return { type, networkOrder };
    if (type.kind === "typedef" && NETWORK_ORDER.has(type.name)) networkOrder = true;
    id = type.typeId ?? 0;
  }
}

/** Reads a type and all its parts. Throws an OperationError naming `place` for what cannot be shared. */
export function readType(reader: TypeReader, typeId: number, place: string): FieldType {
  const { type, networkOrder } = resolve(reader.btf, typeId);
  switch (type.kind) {
    case "int":
      return integerOf(type, networkOrder, place);
    case "enum":
    case "enum64":
      return readEnum(reader, type, place);
    case "struct":
      return readStruct(reader, type, place);
    case "array": {
      if (!type.length) throw refusal(place, "an array without elements");
      return { kind: "array", element: readType(reader, type.typeId ?? 0, place), length: type.length };
    }
    case "union":
      throw refusal(place, "a union; its bytes could mean one thing or another");
    case "ptr":
      throw refusal(place, "a pointer, which means nothing on the other side");
    default:
      throw refusal(place, `a type of kind ${type.kind}, for which there is no codec`);
  }
}

function integerOf(type: BtfType, networkOrder: boolean, place: string): Integer {
  const { size = 0, bits = 0, signed = false, boolean = false } = type;
  if (boolean) throw refusal(place, "a bool, of whose values only two are valid; use __u8");
  if (size !== 1 && size !== 2 && size !== 4 && size !== 8)
    throw refusal(place, `an integer of ${size} bytes`);
  if (bits !== size * 8) throw refusal(place, `a bitfield (${bits} of ${size * 8} bits)`);
  return { kind: "integer", bytes: size, signed, order: networkOrder ? "network" : "host" };
}

function readEnum(reader: TypeReader, type: BtfType, place: string): FieldType {
  const { size = 0, signed = false, values: found = [] } = type;
  const underlying = integerOf({ ...type, bits: size * 8 }, false, place);
  if (underlying.bytes === 8)
    throw refusal(place, "an enum of 8 bytes, whose values need not be safe integers");
  const values = found.map(({ name, value }) => ({ name, value: Number(value) }));
  if (type.name === "") {
    for (const { name, value } of values) reader.constants.set(name, value);
    return { ...underlying, signed };
  }
  if (isFirst(reader, type, place)) reader.enums.set(type.name, { name: type.name, underlying, values });
  return { kind: "enum", name: type.name, underlying };
}

function readStruct(reader: TypeReader, type: BtfType, place: string): FieldType {
  const { name, size = 0, members = [] } = type;
  if (name === "") throw refusal(place, "a struct without a name");
  if (isFirst(reader, type, place)) {
    const fields = members.map((member) => readField(reader, name, member));
    refuseGaps(name, fields, size);
    reader.structs.set(name, { name, size, fields });
  }
  return { kind: "struct", name, size };
}

function readField(reader: TypeReader, struct: string, member: BtfMember): Field {
  const place = `struct ${struct}, field ${member.name || "(unnamed)"}`;
  if (member.bitSize > 0) throw refusal(place, "a bitfield; its place is the compiler's choice");
  const type = readType(reader, member.typeId, place);
  if (member.name === "") throw refusal(place, "a member without a name");
  return { name: member.name, offset: member.bitOffset / 8, type };
}

/** Equal keys must be equal bytes, so every byte must belong to a field that is written. */
function refuseGaps(struct: string, fields: readonly Field[], size: number): void {
  let end = 0;
  for (const { name, offset, type } of fields) {
    if (offset !== end) {
      throw refusal(
        `struct ${struct}, field ${name}`,
        `${offset - end} bytes of padding before it; name them reserved`,
      );
    }
    end = offset + sizeOf(type);
  }
  if (size !== end) {
    const last = fields.at(-1)?.name ?? "(none)";
    throw refusal(
      `struct ${struct}, field ${last}`,
      `${size - end} bytes of padding after it; name them reserved`,
    );
  }
}

/** False if the type has been read before (or is being read). Generated names derive from C's, so those must differ. */
function isFirst(reader: TypeReader, type: BtfType, place: string): boolean {
  const key = `${type.kind} ${type.name}`;
  const seen = reader.ids.get(key);
  if (seen !== undefined && seen !== type.id) throw refusal(place, `there is more than one ${key}`);
  reader.ids.set(key, type.id);
  return seen === undefined;
}
