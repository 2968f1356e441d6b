// Generates the interface, size, encoder, decoder and codec of every struct, as straight-line code with literal offsets.

import {
  type Field,
  type FieldType,
  type Integer,
  nameOf,
  type Struct,
  sizeOf,
} from "../../src/datapath/btf-types.ts";
import { camelCase, pascalCase, upperCase } from "./names.ts";

/** Longer arrays become loops, and plain arrays instead of tuples. */
const UNROLLED_MAX = 8;
const LOOP_VARIABLES = ["i", "j", "k", "l"];

/** What of a struct is written and read; fields named reserved are zeros and nobody's business. */
const isReserved = ({ name }: Field): boolean => name.startsWith("reserved");

/** A place in the bytes: `offset`, a number of bytes, and the loops that it depends on. */
interface Place {
  readonly bytes: number;
  readonly loops: readonly string[];
}

const later = ({ bytes, loops }: Place, more: number): Place => ({ bytes: bytes + more, loops });
const text = ({ bytes, loops }: Place): string =>
  ["offset", ...(bytes > 0 ? [`${bytes}`] : []), ...loops].join(" + ");

/** Names of enums whose fields are sets of bits, so that no single constant is their type. */
export type SetsOfBits = ReadonlySet<string>;

export function structCode(struct: Struct, sets: SetsOfBits): string {
  const type = pascalCase(struct.name);
  const size = `${upperCase(struct.name)}_SIZE`;
  const fields = struct.fields.filter((field) => !isReserved(field));
  return [
    `/** \`struct ${struct.name}\`, ${struct.size} bytes. */`,
    `export interface ${type} {`,
    ...fields.map(({ name, type }) => `  readonly ${camelCase(name)}: ${typeCode(type, sets)};`),
    "}",
    "",
    `export const ${size} = ${struct.size};`,
    "",
    `/** Where the fields of \`struct ${struct.name}\` begin, in bytes. */`,
    `export const ${upperCase(struct.name)}_OFFSETS = {`,
    ...fields.map(({ name, offset }) => `  ${camelCase(name)}: ${offset},`),
    "} as const;",
    "",
    `export function encode${type}(value: ${type}, view: DataView, offset: number): void {`,
    ...struct.fields.flatMap((field) => fieldEncoder(struct, field)).map((line) => `  ${line}`),
    "}",
    "",
    `export function decode${type}(view: DataView, offset: number): ${type} {`,
    "  return {",
    ...fields.map(({ name, offset, type }) => {
      const value = decoder(type, { bytes: offset, loops: [] }, sets);
      return `    ${camelCase(name)}: ${value},`;
    }),
    "  };",
    "}",
    "",
    ...codecCode(struct.name, type, size),
  ].join("\n");
}

/** Generates the codec of a key or value that is a bare integer. */
export function integerCode(type: Integer): string {
  const name = nameOf(type);
  const size = `${type.bytes}`;
  const place = { bytes: 0, loops: [] };
  return [
    `export const ${name}Codec: Codec<${type.bytes === 8 ? "bigint" : "number"}> = {`,
    `  name: "${name}",`,
    `  size: ${size},`,
    "  encode(value, view, offset) {",
    ...encoder(type, { value: "value", field: name }, place).map((line) => `    ${line}`),
    "  },",
    "  decode(view, offset) {",
    `    return ${decoder(type, place, new Set())};`,
    "  },",
    "};",
  ].join("\n");
}

function codecCode(name: string, type: string, size: string): string[] {
  return [
    `export const ${camelCase(name)}Codec: Codec<${type}> = {`,
    `  name: "${name}",`,
    `  size: ${size},`,
    `  encode: encode${type},`,
    `  decode: decode${type},`,
    "};",
  ];
}

function typeCode(type: FieldType, sets: SetsOfBits): string {
  switch (type.kind) {
    case "integer":
      return type.bytes === 8 ? "bigint" : "number";
    case "enum":
      return sets.has(type.name) ? "number" : pascalCase(type.name);
    case "struct":
      return pascalCase(type.name);
    case "array": {
      const element = typeCode(type.element, sets);
      if (type.length <= UNROLLED_MAX) return `readonly [${Array(type.length).fill(element).join(", ")}]`;
      return element.startsWith("readonly ") ? `readonly (${element})[]` : `readonly ${element}[]`;
    }
  }
}

function fieldEncoder(struct: Struct, field: Field): string[] {
  const place = { bytes: field.offset, loops: [] };
  if (isReserved(field)) return zeros(place, sizeOf(field.type));
  const value = `value.${camelCase(field.name)}`;
  return encoder(field.type, { value, field: `${struct.name}.${field.name}` }, place);
}

/** Zeros over `size` bytes: memory from Buffer.allocUnsafe would otherwise shine through. */
function zeros(place: Place, size: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < size; ) {
    const bytes = ([4, 2, 1] as const).find((each) => each <= size - at) ?? 1;
    const target = text(later(place, at));
    lines.push(
      bytes === 1 ? `view.setUint8(${target}, 0);` : `view.setUint${bytes * 8}(${target}, 0, true);`,
    );
    at += bytes;
  }
  return lines;
}

/** Statements that write `value`, an expression, to a place; `field` is its name in messages. */
function encoder(type: FieldType, what: { value: string; field: string }, place: Place): string[] {
  const { value, field } = what;
  switch (type.kind) {
    case "integer":
      return [
        `view.set${accessor(type)}(${text(place)}, ${check(type)}(${value}, "${field}")${orderOf(type)});`,
      ];
    case "enum":
      return encoder(type.underlying, what, place);
    case "struct":
      return [`encode${pascalCase(type.name)}(${value}, view, ${text(place)});`];
    case "array":
      return type.length <= UNROLLED_MAX
        ? Array.from({ length: type.length }, (_, i) =>
            encoder(type.element, { value: `${value}[${i}]`, field }, later(place, i * sizeOf(type.element))),
          ).flat()
        : loop(type.element, type.length, what, place);
  }
}

function loop(
  element: FieldType,
  length: number,
  what: { value: string; field: string },
  place: Place,
): string[] {
  const i = LOOP_VARIABLES[place.loops.length] ?? `i${place.loops.length}`;
  const within = { ...place, loops: [...place.loops, `${sizeOf(element)} * ${i}`] };
  return [
    `requireLength(${what.value}, ${length}, "${what.field}");`,
    `for (let ${i} = 0; ${i} < ${length}; ${i}++) {`,
    ...encoder(element, { value: `${what.value}[${i}]!`, field: what.field }, within).map(
      (line) => `  ${line}`,
    ),
    "}",
  ];
}

/** An expression that reads a value from a place. */
function decoder(type: FieldType, place: Place, sets: SetsOfBits): string {
  switch (type.kind) {
    case "integer":
      return `view.get${accessor(type)}(${text(place)}${orderOf(type)})`;
    case "enum": {
      const value = decoder(type.underlying, place, sets);
      return sets.has(type.name) ? value : `${value} as ${pascalCase(type.name)}`;
    }
    case "struct":
      return `decode${pascalCase(type.name)}(view, ${text(place)})`;
    case "array": {
      const size = sizeOf(type.element);
      if (type.length <= UNROLLED_MAX) {
        const all = Array.from({ length: type.length }, (_, i) =>
          decoder(type.element, later(place, i * size), sets),
        );
        return `[${all.join(", ")}]`;
      }
      const i = LOOP_VARIABLES[place.loops.length] ?? `i${place.loops.length}`;
      const within = { ...place, loops: [...place.loops, `${size} * ${i}`] };
      return `repeat(${type.length}, (${i}) => ${decoder(type.element, within, sets)})`;
    }
  }
}

/** The DataView method's name after get or set: "Uint16", "BigInt64". */
const accessor = ({ bytes, signed }: Integer): string =>
  `${bytes === 8 ? "Big" : ""}${signed ? "Int" : "Uint"}${bytes * 8}`;

const orderOf = ({ bytes, order }: Integer): string => (bytes === 1 ? "" : `, ${order === "host"}`);

/** The function of the generated module that checks the range: "u16". */
const check = ({ bytes, signed }: Integer): string => `${signed ? "i" : "u"}${bytes * 8}`;
