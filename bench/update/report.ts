// What a run of updates came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import type { Row } from "./run.ts";

export const updateText = (format: Format, machine: Machine, rows: readonly Row[]): string =>
  reportOf(format, machine, rows, {
    json: jsonOf,
    table: tableOf,
    markdown: {
      titles: ["pods, policies", ...STEPS.map((step) => `${step}, ms`), "in force, ms", "change"],
      cells: (row) => [sizeOf(row), ...timesOf(row), `\`${row.change}\``],
    },
  });

const STEPS = ["compile", "diff", "write", "cleanup"] as const;

const inForce = ({ steps }: Row): number => steps.compile + steps.diff + steps.write;

const sizeOf = ({ size }: Row): string => `${size.pods}, ${size.policies}`;

const timesOf = (row: Row): string[] =>
  [...STEPS.map((step) => row.steps[step]), inForce(row)].map((time) => time.toFixed(1));

const jsonOf = (row: Row): object => ({
  ...row.size,
  change: row.change,
  ...Object.fromEntries(STEPS.map((step) => [`${step}_ms`, hundredths(row.steps[step])])),
  in_force_ms: hundredths(inForce(row)),
});

const tableOf = (rows: readonly Row[]): Table => ({
  columns: [
    right("PODS"),
    right("POLICIES"),
    ...STEPS.map((step) => right(`${step.toUpperCase()} MS`)),
    right("IN FORCE MS"),
    left("CHANGE"),
  ],
  rows: rows.map((row) => [String(row.size.pods), String(row.size.policies), ...timesOf(row), row.change]),
});
