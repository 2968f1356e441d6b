// `--sort-by`: rows in the order of a field of their JSON, by its path ("name", ".traffic.ingress.dropped.packets").

import { CommandError, EXIT } from "./environment.ts";

/** Numbers by value, texts by their characters; rows without the field last. @throws CommandError if no row has it */
export function sortedBy<T>(rows: readonly T[], path: string | undefined): readonly T[] {
  if (path === undefined || rows.length === 0) return rows;
  const names = path
    .replace(/^\{(.*)\}$/, "$1")
    .split(".")
    .filter((name) => name !== "");
  const keyed = rows.map((row) => ({ row, value: valueAt(row, names) }));
  if (names.length === 0 || keyed.every(({ value }) => value === undefined)) {
    const known = new Set(rows.flatMap((row) => Object.keys(row as object)));
    throw new CommandError(`--sort-by: no field ${path}; there are ${[...known].join(", ")}`, EXIT.usage);
  }
  return keyed.sort((a, b) => order(a.value, b.value)).map(({ row }) => row);
}

function valueAt(row: unknown, names: readonly string[]): unknown {
  let value = row;
  for (const name of names) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

function order(a: unknown, b: unknown): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const isNumber = (value: unknown): value is number | bigint => ["number", "bigint"].includes(typeof value);
  if (isNumber(a) && isNumber(b)) return a < b ? -1 : Number(a > b);
  const [first, second] = [textOf(a), textOf(b)];
  return first < second ? -1 : Number(first > second);
}

const textOf = (value: unknown): string =>
  typeof value === "object" ? JSON.stringify(value) : String(value);
