// Generates a constant object, its union type and its table of names for every enum.

import type { Enum } from "../../src/datapath/btf-types.ts";
import { commonPrefix, dashed, pascalCase, upperCase } from "./names.ts";

/** Enums whose values are single bits are sets: a field of such a type may hold several. */
export const isSetOfBits = ({ values }: Enum): boolean =>
  values.every(({ value }) => value > 0 && Number.isInteger(Math.log2(value))) &&
  values.some(({ value }) => value > 2);

const property = (name: string): string => (/^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name));

export function enumCode(each: Enum): string {
  const type = pascalCase(each.name);
  const prefix = commonPrefix(each);
  const values = each.values.map(({ name, value }) => ({ name: name.slice(prefix.length), value }));
  // Where several constants have one value, as the first of a range may have, the last one is its name.
  const names = new Map(values.map(({ name, value }) => [value, dashed(name)]));
  return [
    `/** \`enum ${each.name}\`${isSetOfBits(each) ? "; fields hold any number of these bits" : ""}. */`,
    `export const ${type} = {`,
    ...values.map(({ name, value }) => `  ${property(name)}: ${value},`),
    "} as const;",
    `export type ${type} = (typeof ${type})[keyof typeof ${type}];`,
    "",
    `/** The values of \`${type}\` in words. */`,
    `export const ${upperCase(each.name)}_NAMES: Readonly<Record<number, string>> = {`,
    ...[...names].map(([value, name]) => `  ${property(`${value}`).replace(/^"(\d+)"$/, "$1")}: "${name}",`),
    "};",
  ].join("\n");
}
