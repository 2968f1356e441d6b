// What the benches' reports share: one form of each format, whatever the rows are.

import { type Table, tableText } from "../../src/observe/text-output.ts";
import type { Machine } from "./machine.ts";
import type { Format } from "./options.ts";

/** How a bench shows its rows: each format is made only where it is asked for. */
export interface Views<T> {
  readonly json: (row: T) => object;
  readonly table: (rows: readonly T[]) => Table;
  /** Titles, then the cells of each row. The first and the last column are texts, those between are numbers. */
  readonly markdown: { readonly titles: readonly string[]; readonly cells: (row: T) => readonly string[] };
}

export function reportOf<T>(
  format: Format,
  machine: Machine,
  rows: readonly T[],
  { json, table, markdown }: Views<T>,
): string {
  switch (format) {
    case "json":
      return `${JSON.stringify({ ...machine, rows: rows.map(json) }, null, 2)}\n`;
    case "markdown":
      return markdownText(markdown.titles, rows.map(markdown.cells));
    case "table":
      return `${tableText(table(rows), true)}\n${machine.machine}, Linux ${machine.kernel}\n`;
  }
}

function markdownText(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = titles.map((_, index) => (index === 0 || index === titles.length - 1 ? "---" : "--:"));
  return [line(titles), line(rule), ...rows.map(line), ""].join("\n");
}

export const hundredths = (value: number): number => Math.round(value * 100) / 100;
