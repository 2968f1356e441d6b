// Tables as kubectl prints them: titles in capitals, columns set apart by spaces, no borders.

import { printable } from "./text.ts";

export interface Column {
  readonly title: string;
  /** Numbers that are compared down the column stand at its right. */
  readonly right?: true;
}

export interface Table {
  readonly columns: readonly Column[];
  /** Each has one cell for each column. An empty cell is printed as "-", so that columns can be cut apart again. */
  readonly rows: readonly (readonly string[])[];
}

export const left = (title: string): Column => ({ title });
export const right = (title: string): Column => ({ title, right: true });

const GAP = "   ";

/** Lines, each with its line break; the empty text where there is neither a row nor a heading. */
export function tableText({ columns, rows }: Table, headers = true): string {
  const lines = rows.map((row) => row.map((cell) => (cell === "" ? "-" : printable(cell))));
  if (headers) lines.unshift(columns.map(({ title }) => title));
  const widths = columns.map((_, at) =>
    lines.reduce((most, line) => Math.max(most, widthOf(line[at] ?? "")), 0),
  );
  const lineText = (line: readonly string[]): string =>
    columns
      .map((column, at) => {
        const cell = line[at] ?? "";
        const padding = " ".repeat((widths[at] ?? 0) - widthOf(cell));
        return column.right ? padding + cell : cell + padding;
      })
      .join(GAP)
      .trimEnd();
  return lines.map((line) => `${lineText(line)}\n`).join("");
}

/** In code points: names and numbers hold neither wide nor combining characters. */
const widthOf = (text: string): number => (ASCII.test(text) ? text.length : [...text].length);

const ASCII = /^[ -~]*$/;
