// Text for people: durations, tables as kubectl prints them, and safe strings, since names come from outside and must not
// control a terminal.

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text in one line, with control, format and direction characters spelt out as \u{…}. */
export const printable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);

const UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
];

/** As kubectl writes ages: the two largest units, "3d4h", "12m5s", "0s"; negative spans are 0. */
export function durationText(milliseconds: number): string {
  let seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    seconds %= size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length === 1) break;
    if (parts.length === 2) break;
  }
  return parts.join("") || "0s";
}

/** "1 pod", "2 pods", "2 policies". */
export const countText = (count: number, noun: string, plural = `${noun}s`): string =>
  `${count} ${count === 1 ? noun : plural}`;

/** The first few of a list, and how many more there are. */
export function someOf(texts: readonly string[], max: number, separator: string): string {
  if (texts.length <= max) return texts.join(separator);
  return [...texts.slice(0, max), `and ${texts.length - max} more`].join(separator);
}

// Tables as kubectl prints them: headings in capitals, columns separated by spaces, no borders.

export interface Column {
  readonly title: string;
  /** Right-aligned: numbers that are compared down the column. */
  readonly right?: true;
  /** Left out where the table is too wide; the highest number first. */
  readonly spare?: number;
  /** Of the last column: its cells are cut where the table is too wide. */
  readonly cut?: true;
}

export interface Table {
  readonly columns: readonly Column[];
  /** Each has one cell for each column. An empty cell is printed as "-", so that columns can be cut apart again. */
  readonly rows: readonly (readonly string[])[];
}

export const left = (title: string): Column => ({ title });
export const right = (title: string): Column => ({ title, right: true });

/** The last column, whose cells may be cut. */
export const cuttable = (title: string): Column => ({ title, cut: true });

/** A column that may be left out. */
export const spare = (title: string, rank: number): Column => ({ title, spare: rank });
export const spareRight = (title: string, rank: number): Column => ({ title, right: true, spare: rank });

const GAP = "   ";

/** The table without as many of its spare columns as it takes to fit into `width`. */
export function fitted(table: Table, width: number): Table {
  const kept = fittingColumns(table, width);
  const cut = <T>(line: readonly T[]): readonly T[] => line.filter((_, at) => kept.includes(at));
  const columns = cut(table.columns);
  return narrowed({ columns, rows: table.rows.map(cut) }, width);
}

/** The table with the cells of its last column cut, where it may be and is too wide. */
function narrowed({ columns, rows }: Table, width: number): Table {
  const last = columns.length - 1;
  if (columns[last]?.cut !== true) return { columns, rows };
  const widths = columns.map(({ title }, at) =>
    Math.max(widthOf(title), ...rows.map((row) => widthOf(row[at] ?? ""))),
  );
  const others = widths.slice(0, last).reduce((sum, each) => sum + each + GAP.length, 0);
  const room = Math.max(CUT_MIN, width - others);
  return {
    columns,
    rows: rows.map((row) => row.map((cell, at) => (at === last ? cutAt(cell, room) : cell))),
  };
}

const CUT_MIN = 20;

const cutAt = (text: string, width: number): string =>
  widthOf(text) <= width ? text : `${[...text].slice(0, width - 1).join("")}…`;

/** The columns of a table without as many spare ones as it takes to fit into `width`. */
function fittingColumns({ columns, rows }: Table, width: number): readonly number[] {
  const widths = columns.map(({ title }, at) =>
    Math.max(widthOf(title), ...rows.map((row) => widthOf(row[at] ?? ""))),
  );
  let kept = columns.map((_, at) => at);
  const total = (): number =>
    kept.reduce((sum, at) => sum + (widths[at] ?? 0), GAP.length * (kept.length - 1));
  const rankOf = (at: number): number => columns[at]?.spare ?? 0;
  while (total() > width) {
    const most = Math.max(...kept.map(rankOf));
    if (most === 0) break;
    const without = kept.findIndex((at) => rankOf(at) === most);
    kept = kept.filter((_, index) => index !== without);
  }
  return kept;
}

/** Lines, each with its line break; empty if there is neither a row nor a heading. */
export const tableText = ({ columns, rows }: Table, headers = true): string =>
  [...tableTexts(columns, rows, { headers, window: Number.POSITIVE_INFINITY })].join("");

export interface TableOptions {
  readonly headers: boolean;
  /** Number of rows buffered to determine the column widths. */
  readonly window: number;
  /** Present column widths; wider output increases them. */
  readonly widths?: number[];
  /** Without as many spare columns as the first rows need to fit into it. */
  readonly fit?: number;
}

/**
 * The same in pieces, for endless rows: a later cell that is wider than all before it widens its column from
 * there on.
 */
export function* tableTexts(
  columns: readonly Column[],
  rows: Iterable<readonly string[]>,
  { headers, window, widths = [], fit }: TableOptions,
): Iterable<string> {
  let held: (readonly string[])[] = headers ? [columns.map(({ title }) => title)] : [];
  let shown = columns.map((_, at) => at);
  let isFitted = fit === undefined;
  const flush = (): string => {
    if (!isFitted && fit !== undefined) shown = [...fittingColumns({ columns, rows: held }, fit)];
    isFitted = true;
    for (const line of held)
      for (const [at, cell] of line.entries()) widths[at] = Math.max(widths[at] ?? 0, widthOf(cell));
    const text = held.map((line) => `${lineText(line)}\n`).join("");
    held = [];
    return text;
  };
  const lineText = (line: readonly string[]): string =>
    shown
      .map((at) => {
        const cell = line[at] ?? "";
        const padding = " ".repeat((widths[at] ?? 0) - widthOf(cell));
        return columns[at]?.right ? padding + cell : cell + padding;
      })
      .join(GAP)
      .trimEnd();
  for (const row of rows) {
    held.push(row.map((cell) => (cell === "" ? "-" : printable(cell))));
    if (held.length >= window) yield flush();
  }
  if (held.length > 0) yield flush();
}

/** In code points: names and numbers contain neither wide nor combining characters. */
const widthOf = (text: string): number => (ASCII.test(text) ? text.length : [...text].length);

const ASCII = /^[ -~]*$/;
