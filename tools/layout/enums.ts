// Generates a constant object, its union type and its tables of names and descriptions for every enum.

import type { Enum } from "../../src/datapath/btf-types.ts";
import { commonPrefix, dashed, pascalCase, upperCase } from "./names.ts";

/** Enums whose values are single bits are sets: a field of such a type may hold several. */
export const isSetOfBits = ({ values }: Enum): boolean =>
  values.every(({ value }) => value > 0 && Number.isInteger(Math.log2(value))) &&
  values.some(({ value }) => value > 2);

const property = (name: string): string => (/^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name));

// `REASON_NODE = 3, /* sent by this node itself */`
/** The comments behind constants in C, by the constants' names. */
export const commentsIn = (header: string): ReadonlyMap<string, string> =>
  new Map(
    [...header.matchAll(/^\s*([A-Z][A-Z0-9_]*) =\s+[^,\n]*,\s*\/\* (.*?) \*\/$/gm)].map(
      ([, name = "", text = ""]) => [name, text],
    ),
  );

export function enumCode(each: Enum, comments: ReadonlyMap<string, string>): string {
  const type = pascalCase(each.name);
  const prefix = commonPrefix(each);
  const values = each.values.map(({ name, value }) => ({ name: name.slice(prefix.length), value }));
  // Where several constants have one value, as the first of a range may have, the last one is its name.
  const names = new Map(values.map(({ name, value }) => [value, dashed(name)]));
  const texts = new Map(each.values.map(({ name, value }) => [value, comments.get(name)]));
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
    ...([...texts.values()].includes(undefined) ? [] : textsCode(each, texts)),
  ].join("\n");
}

const textsCode = ({ name }: Enum, texts: ReadonlyMap<number, string | undefined>): string[] => [
  "",
  `/** What the values of \`${pascalCase(name)}\` mean: the comments in bpf/layout.h. */`,
  `export const ${upperCase(name)}_TEXTS: Readonly<Record<number, string>> = {`,
  ...[...texts].map(([value, text]) => `  ${value < 0 ? `"${value}"` : value}: ${JSON.stringify(text)},`),
  "};",
];
