// The who-reaches-whom tables: turning an act's expectation into probes, and both into lines of text, side by side.

import { styleText } from "node:util";
import { type ExpectedShot, isAsExpected, type Measured } from "../src/lab/measure-reachability.ts";
import type { Lab } from "../src/lab/netns-lab.ts";
import { NODE } from "../src/lab/netns-lab.ts";
import { type Act, TARGETS } from "./acts.ts";
import { ROW_TITLES } from "./world.ts";

/** One probe of the table: a cell holds one of each family. */
export interface CellShot extends ExpectedShot {
  readonly row: string;
  readonly column: number;
  readonly family: 4 | 6;
  readonly target: string;
}

const ROW_WIDTH = 26;
const COLUMN_WIDTH = 8;
const GAP = "   ";
const FAMILIES = [4, 6] as const;

/** What the act expects, as probes. */
export function shotsOf(act: Act, lab: Lab): CellShot[] {
  return Object.entries(act.expected).flatMap(([row, words]) => {
    const cells = words.trim().split(/\s+/);
    return TARGETS.flatMap((target, column) => {
      const cell = cells[column];
      if (cell === undefined || cells.length !== TARGETS.length) throw new Error(`${act.title}: row ${row}`);
      if (cell === "self") return [];
      return lab.wire(target.name).addresses.map(
        ({ family, text }): CellShot => ({
          row,
          column,
          family,
          target: target.name,
          from: row === NODE ? NODE : row,
          probe: { kind: "http", address: text, port: target.port },
          expected: cell.includes(String(family)),
        }),
      );
    });
  });
}

/** A cell is right where it is as expected, and where the answer came from the server that was asked. */
export const isRight = ({ shot, outcome, again }: Measured<CellShot>): boolean =>
  isAsExpected({ shot, outcome, again }) && (outcome.result !== "reached" || outcome.text === shot.target);

/** Measured on the left, expected on the right. */
export function tableLines(act: Act, measured: readonly Measured<CellShot>[]): string[] {
  const half = TARGETS.length * COLUMN_WIDTH;
  const names = TARGETS.map(({ name }) => centred(name.replace(/^.*\//, ""))).join("");
  const ports = TARGETS.map(({ port }) => centred(`:${port}`)).join("");
  const head = [
    `${"".padEnd(ROW_WIDTH)}${"measured".padEnd(half)}${GAP}expected`,
    `${"".padEnd(ROW_WIDTH)}${names}${GAP}${names}`,
    `${"".padEnd(ROW_WIDTH)}${ports}${GAP}${ports}`,
  ].map((line) => styleText("dim", line.trimEnd()));
  return [...head, ...Object.keys(act.expected).map((row) => rowLine(row, measured))];
}

function rowLine(row: string, all: readonly Measured<CellShot>[]): string {
  const cells = TARGETS.map((_target, column) =>
    all.filter(({ shot }) => shot.row === row && shot.column === column),
  );
  const left = cells.map(measuredCell).join("");
  const right = cells.map(expectedCell).join("");
  return `${(ROW_TITLES[row] ?? row).padEnd(ROW_WIDTH)}${left}${GAP}${right}`.trimEnd();
}

function measuredCell(cell: readonly Measured<CellShot>[]): string {
  if (cell.length === 0) return " ".repeat(COLUMN_WIDTH);
  const marks = FAMILIES.map((family) => {
    const one = cell.find(({ shot }) => shot.family === family);
    if (one === undefined) return " ";
    return one.outcome.result === "reached" ? String(family) : one.outcome.result === "silent" ? "·" : "?";
  }).join(" ");
  if (!cell.every(isRight)) return styleText(["red", "bold"], centred(`${marks} !`));
  return styleText(colourOf(cell.some(({ outcome }) => outcome.result === "reached")), centred(marks));
}

function expectedCell(cell: readonly Measured<CellShot>[]): string {
  if (cell.length === 0) return " ".repeat(COLUMN_WIDTH);
  const marks = FAMILIES.map((family) =>
    cell.some(({ shot }) => shot.family === family && shot.expected) ? String(family) : "·",
  ).join(" ");
  return styleText(colourOf(cell.some(({ shot }) => shot.expected)), centred(marks));
}

const colourOf = (open: boolean): "green" | "dim" => (open ? "green" : "dim");

const centred = (text: string): string => {
  const left = Math.max(0, Math.floor((COLUMN_WIDTH - text.length) / 2));
  return `${" ".repeat(left)}${text}`.padEnd(COLUMN_WIDTH);
};
