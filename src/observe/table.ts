// Tables as kubectl prints them: titles in capitals, columns set apart by spaces, no borders.

import { printable } from "./text-output.ts";

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
export const tableText = ({ columns, rows }: Table, headers = true): string =>
  [...tableTexts(columns, rows, { headers, window: Number.POSITIVE_INFINITY })].join("");

export interface TableOptions {
  readonly headers: boolean;
  /** Rows that are held back to find out how wide the columns are. */
  readonly window: number;
  /** How wide the columns are already; what is written widens them. */
  readonly widths?: number[];
}

/** The same in pieces, for rows without end: a later cell that is wider than all before it widens its column from there on. */
export function* tableTexts(
  columns: readonly Column[],
  rows: Iterable<readonly string[]>,
  { headers, window, widths = [] }: TableOptions,
): Iterable<string> {
  let held: (readonly string[])[] = headers ? [columns.map(({ title }) => title)] : [];
  const flush = (): string => {
    for (const line of held)
      for (const [at, cell] of line.entries()) widths[at] = Math.max(widths[at] ?? 0, widthOf(cell));
    const text = held.map((line) => `${lineText(line)}\n`).join("");
    held = [];
    return text;
  };
  const lineText = (line: readonly string[]): string =>
    columns
      .map((column, at) => {
        const cell = line[at] ?? "";
        const padding = " ".repeat((widths[at] ?? 0) - widthOf(cell));
        return column.right ? padding + cell : cell + padding;
      })
      .join(GAP)
      .trimEnd();
  for (const row of rows) {
    held.push(row.map((cell) => (cell === "" ? "-" : printable(cell))));
    if (held.length >= window) yield flush();
  }
  if (held.length > 0) yield flush();
}

/** In code points: names and numbers hold neither wide nor combining characters. */
const widthOf = (text: string): number => (ASCII.test(text) ? text.length : [...text].length);

const ASCII = /^[ -~]*$/;
