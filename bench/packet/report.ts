// What a run came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import { type AboveFloor, type Compared, type Comparison, type Figures, floorIdOf } from "./rounds.ts";
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
  ratio: figures.ratio === undefined ? null : hundredths(figures.ratio),
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
    figures.ratio?.toFixed(2) ?? "-",
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

/** Two revisions' rows side by side. */
export function comparisonText(format: Format, machine: Machine, { baseline, rows }: Comparison): string {
  const about: Machine & Pick<Comparison, "baseline"> = { ...machine, baseline };
  return reportOf(format, about, rows, {
    json: ({ row, today, baseline: other }) => ({
      id: row.id,
      floor: floorIdOf(row),
      above_floor_ns: hundredths(today.median),
      min_above_floor_ns: hundredths(today.min),
      baseline_above_floor_ns: other ? hundredths(other.median) : null,
      baseline_min_above_floor_ns: other ? hundredths(other.min) : null,
      ratio: ratioOf(today.median, other?.median) ?? null,
      ratio_of_minima: ratioOf(today.min, other?.min) ?? null,
    }),
    table: (all) => ({
      columns: [
        left("ROW"),
        ...["NS ABOVE FLOOR", baseline.toUpperCase(), "RATIO", "MIN", baseline.toUpperCase(), "RATIO"].map(
          (title) => right(title),
        ),
        left("WHAT"),
      ],
      rows: all.map((each) => [each.row.id, ...comparedCells(each), each.row.what]),
    }),
    markdown: {
      titles: ["row", "ns above floor", baseline, "ratio", "min", baseline, "ratio", "what"],
      cells: (each) => [`\`${each.row.id}\``, ...comparedCells(each), each.row.what],
    },
  });
}

function comparedCells({ today, baseline }: Compared): string[] {
  const cells = (key: keyof AboveFloor) => [
    today[key].toFixed(1),
    baseline?.[key].toFixed(1) ?? "-",
    ratioOf(today[key], baseline?.[key])?.toFixed(2) ?? "-",
  ];
  return [...cells("median"), ...cells("min")];
}

/** Undefined where there is nothing to divide by, as at the floors. */
const ratioOf = (today: number, baseline: number | undefined): number | undefined =>
  baseline === undefined || baseline < NOISE_NS ? undefined : hundredths(today / baseline);

/** Test runs are timed in whole nanoseconds. */
const NOISE_NS = 1;
