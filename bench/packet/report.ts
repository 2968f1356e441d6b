// What a run came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import { type Figures, floorIdOf } from "./rounds.ts";
import type { Row } from "./row.ts";

export interface Measured {
  readonly row: Row;
  readonly figures: Figures;
  /** Of the row's program, not of the driver before it. */
  readonly program: { readonly name: string; readonly verifiedInstructions: number };
  /** Executed for each packet; undefined where the processor's counters cannot be had. */
  readonly instructions: number | undefined;
}

export const reportText = (format: Format, machine: Machine, rows: readonly Measured[]): string =>
  reportOf(format, machine, rows, {
    json: jsonOf,
    table: tableOf,
    markdown: {
      titles: ["row", "ns", "above floor", "ratio", "min", "max", "what"],
      cells: (each) => [`\`${each.row.id}\``, ...cellsOf(each).slice(1, 6), each.row.what],
    },
  });

const jsonOf = ({ row, figures, program, instructions }: Measured): object => ({
  id: row.id,
  ns: hundredths(figures.ns),
  above_floor_ns: hundredths(figures.aboveFloorNs),
  min_ns: hundredths(figures.minNs),
  max_ns: hundredths(figures.maxNs),
  ratio: hundredths(figures.ratio),
  floor: floorIdOf(row),
  instructions: instructions === undefined ? null : Math.round(instructions),
  program: program.name,
  verified_instructions: program.verifiedInstructions,
});

const TITLES = [
  "ROW",
  "NS",
  "ABOVE FLOOR",
  "RATIO",
  "MIN",
  "MAX",
  "INSNS",
  "VERIFIED",
  "FLOOR",
  "WHAT",
] as const;
const TEXTS: ReadonlySet<string> = new Set(["ROW", "FLOOR", "WHAT"]);

function cellsOf({ row, figures, program, instructions }: Measured): string[] {
  const floor = floorIdOf(row);
  return [
    row.id,
    figures.ns.toFixed(1),
    figures.aboveFloorNs.toFixed(1),
    figures.ratio.toFixed(2),
    figures.minNs.toFixed(1),
    figures.maxNs.toFixed(1),
    instructions === undefined ? "-" : instructions.toFixed(0),
    String(program.verifiedInstructions),
    floor === row.id ? "-" : floor,
    row.what,
  ];
}

const tableOf = (rows: readonly Measured[]): Table => ({
  columns: TITLES.map((title) => (TEXTS.has(title) ? left(title) : right(title))),
  rows: rows.map(cellsOf),
});
