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
}

export interface Table {
  readonly columns: readonly Column[];
  /** Each has one cell for each column. An empty cell is printed as "-", so that columns can be cut apart again. */
  readonly rows: readonly (readonly string[])[];
}

export const left = (title: string): Column => ({ title });
export const right = (title: string): Column => ({ title, right: true });

/** A column that may be left out. */
export const spare = (title: string, rank: number): Column => ({ title, spare: rank });

const GAP = "   ";

/** The table without as many of its spare columns as it takes to fit into `width`. */
export function fitted(table: Table, width: number): Table {
  const { columns, rows } = table;
  const widths = columns.map(({ title }, at) =>
    Math.max(widthOf(title), ...rows.map((row) => widthOf(row[at] ?? ""))),
  );
  const total = widths.reduce((sum, each) => sum + each, GAP.length * (columns.length - 1));
  const ranks = columns.map(({ spare: rank = 0 }) => rank);
  const most = Math.max(...ranks);
  if (total <= width || most === 0) return table;
  const without = ranks.indexOf(most);
  const isKept = (_: unknown, at: number): boolean => at !== without;
  return fitted({ columns: columns.filter(isKept), rows: rows.map((row) => row.filter(isKept)) }, width);
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
}

/**
 * The same in pieces, for endless rows: a later cell that is wider than all before it widens its column from
 * there on.
 */
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

/** In code points: names and numbers contain neither wide nor combining characters. */
const widthOf = (text: string): number => (ASCII.test(text) ? text.length : [...text].length);

const ASCII = /^[ -~]*$/;
