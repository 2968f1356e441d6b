// Decodes BTF (https://docs.kernel.org/bpf/btf.html) into plain data, trusting no length or offset in it.
import { ownError, type Site } from "./error.ts";

export type BtfKind =
  | "void"
  | "int"
  | "ptr"
  | "array"
  | "struct"
  | "union"
  | "enum"
  | "fwd"
  | "typedef"
  | "volatile"
  | "const"
  | "restrict"
  | "func"
  | "funcProto"
  | "var"
  | "datasec"
  | "float"
  | "declTag"
  | "typeTag"
  | "enum64";

/** `bitSize` is 0 for all but bitfields. */
export type BtfMember = {
  readonly name: string;
  readonly typeId: number;
  readonly bitOffset: number;
  readonly bitSize: number;
};

/** A variable's place in its section, in bytes. */
export type BtfVariable = { readonly typeId: number; readonly offset: number; readonly size: number };

export type BtfType = {
  readonly id: number;
  readonly kind: BtfKind;
  /** Empty for types without a name. */
  readonly name: string;
  /** Bytes: int, struct, union, enum, enum64, float, datasec. */
  readonly size?: number;
  /** Of an int. */
  readonly bits?: number;
  readonly boolean?: boolean;
  readonly char?: boolean;
  /** Of an int, an enum or an enum64. */
  readonly signed?: boolean;
  /** The type that it points to, aliases, qualifies, contains (array, var) or returns (funcProto). */
  readonly typeId?: number;
  /** Of an array. */
  readonly indexTypeId?: number;
  readonly length?: number;
  /** Of a struct or union. */
  readonly members?: readonly BtfMember[];
  /** Of an enum or enum64. */
  readonly values?: readonly { readonly name: string; readonly value: bigint }[];
  /** Of a funcProto. */
  readonly parameters?: readonly { readonly name: string; readonly typeId: number }[];
  /** Of a datasec. */
  readonly variables?: readonly BtfVariable[];
  /** Of a var or func: 0 static, 1 global, 2 extern. */
  readonly linkage?: number;
  /** Of a fwd: whether it is of a union. */
  readonly union?: boolean;
  /** Of a declTag: which member or parameter, -1 for the whole. */
  readonly component?: number;
};

/** Decoded bytes, and what split BTF needs of its base. */
export type DecodedBtf = {
  readonly types: readonly BtfType[];
  readonly firstId: number;
  readonly strings: Uint8Array;
  readonly stringsStart: number;
  readonly base: DecodedBtf | undefined;
};

const magic = 0xeb9f;
const kinds: readonly BtfKind[] = [
  "void",
  "int",
  "ptr",
  "array",
  "struct",
  "union",
  "enum",
  "fwd",
  "typedef",
  "volatile",
  "const",
  "restrict",
  "func",
  "funcProto",
  "var",
  "datasec",
  "float",
  "declTag",
  "typeTag",
  "enum64",
];

/** A walk over the types' bytes; reading beyond the end throws a RangeError, as DataView does. */
type Cursor = { view: DataView; at: number; little: boolean; name: (offset: number) => string };

/** One type's fixed part; `word` is its size or the type it refers to. */
type Head = { id: number; kind: BtfKind; name: string; vlen: number; flag: boolean; word: number };

/** Throws a BpfError (ARGUMENT) for bytes that are not BTF. */
export function decodeBtf(bytes: Uint8Array, site: Site, base?: DecodedBtf): DecodedBtf {
  try {
    return decode(bytes, base);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw ownError(site, "ARGUMENT", `not valid BTF: ${error.message}`);
  }
}

function decode(bytes: Uint8Array, base: DecodedBtf | undefined): DecodedBtf {
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = header.getUint16(0, true) === magic;
  if (!little && header.getUint16(0, false) !== magic) throw new RangeError("no magic number at the start");
  const [start, typeOffset, typeSize, stringOffset, stringSize] = [4, 8, 12, 16, 20].map((at) =>
    header.getUint32(at, little),
  ) as [number, number, number, number, number];
  const view = new DataView(bytes.buffer, bytes.byteOffset + start + typeOffset, typeSize);
  const strings = new Uint8Array(bytes.buffer, bytes.byteOffset + start + stringOffset, stringSize);
  const end = bytes.byteLength;
  if (start + typeOffset + typeSize > end || start + stringOffset + stringSize > end) {
    throw new RangeError("a section ends beyond the bytes");
  }
  const firstId = base ? base.firstId + base.types.length : 0;
  const stringsStart = base ? base.stringsStart + base.strings.length : 0;
  const decoded = { types: [] as BtfType[], firstId, strings, stringsStart, base };
  if (!base) decoded.types.push({ id: 0, kind: "void", name: "" });
  const cursor = { view, at: 0, little, name: (offset: number) => stringAt(decoded, offset) };
  while (cursor.at < view.byteLength) decoded.types.push(nextType(cursor, firstId + decoded.types.length));
  return decoded;
}

function stringAt(btf: DecodedBtf, offset: number): string {
  if (btf.base && offset < btf.stringsStart) return stringAt(btf.base, offset);
  const start = offset - btf.stringsStart;
  const end = btf.strings.indexOf(0, start);
  if (start >= btf.strings.length || end < 0) throw new RangeError(`no string at offset ${offset}`);
  return Buffer.from(btf.strings.buffer, btf.strings.byteOffset + start, end - start).toString("utf8");
}

function word(cursor: Cursor): number {
  const value = cursor.view.getUint32(cursor.at, cursor.little);
  cursor.at += 4;
  return value;
}

function nextType(cursor: Cursor, id: number): BtfType {
  const name = cursor.name(word(cursor));
  const info = word(cursor);
  const kind = kinds[(info >>> 24) & 0x1f];
  if (kind === undefined || kind === "void") throw new RangeError(`type ${id} is of an unknown kind`);
  return body(cursor, { id, kind, name, vlen: info & 0xffff, flag: info >>> 31 === 1, word: word(cursor) });
}

function body(cursor: Cursor, head: Head): BtfType {
  const { id, kind, name, vlen, flag } = head;
  const common = { id, kind, name };
  switch (kind) {
    case "int":
      return { ...common, size: head.word, ...intEncoding(word(cursor)) };
    case "array":
      return { ...common, typeId: word(cursor), indexTypeId: word(cursor), length: word(cursor) };
    case "struct":
    case "union":
      return { ...common, size: head.word, members: repeat(vlen, () => member(cursor, flag)) };
    case "enum":
      return {
        ...common,
        size: head.word,
        signed: flag,
        values: repeat(vlen, () => enumValue(cursor, flag)),
      };
    case "enum64":
      return {
        ...common,
        size: head.word,
        signed: flag,
        values: repeat(vlen, () => enum64Value(cursor, flag)),
      };
    case "funcProto":
      return {
        ...common,
        typeId: head.word,
        parameters: repeat(vlen, () => ({ name: cursor.name(word(cursor)), typeId: word(cursor) })),
      };
    case "datasec":
      return {
        ...common,
        size: head.word,
        variables: repeat(vlen, () => ({ typeId: word(cursor), offset: word(cursor), size: word(cursor) })),
      };
    case "var":
      return { ...common, typeId: head.word, linkage: word(cursor) };
    case "func":
      return { ...common, typeId: head.word, linkage: vlen };
    case "declTag":
      return { ...common, typeId: head.word, component: word(cursor) | 0 };
    case "fwd":
      return { ...common, union: flag };
    case "float":
      return { ...common, size: head.word };
    default:
      return { ...common, typeId: head.word };
  }
}

function repeat<T>(count: number, read: () => T): T[] {
  const list: T[] = [];
  for (let i = 0; i < count; i++) list.push(read());
  return list;
}

function intEncoding(encoding: number) {
  const flags = (encoding >>> 24) & 0xf;
  return {
    bits: encoding & 0xff,
    signed: (flags & 1) !== 0,
    char: (flags & 2) !== 0,
    boolean: (flags & 4) !== 0,
  };
}

function member(cursor: Cursor, withBitfields: boolean): BtfMember {
  const name = cursor.name(word(cursor));
  const typeId = word(cursor);
  const place = word(cursor);
  return withBitfields
    ? { name, typeId, bitOffset: place & 0xffffff, bitSize: place >>> 24 }
    : { name, typeId, bitOffset: place, bitSize: 0 };
}

function enumValue(cursor: Cursor, signed: boolean) {
  const name = cursor.name(word(cursor));
  const value = word(cursor);
  return { name, value: BigInt(signed ? value | 0 : value) };
}

function enum64Value(cursor: Cursor, signed: boolean) {
  const name = cursor.name(word(cursor));
  const low = BigInt(word(cursor));
  const value = (BigInt(word(cursor)) << 32n) | low;
  return { name, value: signed ? BigInt.asIntN(64, value) : value };
}
