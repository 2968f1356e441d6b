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
      return jsonReport(machine, rows.map(json));
    case "markdown":
      return markdownTable(markdown.titles, rows.map(markdown.cells), "text");
    case "table":
      return tableReport(machine, table(rows));
  }
}

export const jsonReport = (machine: Machine, rows: readonly object[]): string =>
  `${JSON.stringify({ ...machine, rows }, null, 2)}\n`;

export const tableReport = ({ machine, kernel }: Machine, table: Table): string =>
  `${tableText(table, true)}\n${machine}, Linux ${kernel}\n`;

/** The first column is text, the others are numbers, but perhaps the last one. */
export function markdownTable(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  last: "text" | "numbers",
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const isText = (index: number) => index === 0 || (last === "text" && index === titles.length - 1);
  const rule = titles.map((_, index) => (isText(index) ? "---" : "--:"));
  return [line(titles), line(rule), ...rows.map(line), ""].join("\n");
}

export const hundredths = (value: number): number => Math.round(value * 100) / 100;
