// A run of cases for people: a line a case, and below it what failed and why.

import { countText, printable } from "../../observe/text-output.ts";
import {
  type CaseReport,
  type CellFailure,
  failuresOf,
  type StepReport,
  type Totals,
} from "../test-report.ts";

/** The failures of a case that are printed in full; one wrong line of a policy may fail a thousand cells. */
const FAILURES_SHOWN_MAX = 25;

const INDENT = " ".repeat(6);

/** "ok", "FAIL", or "open" where nothing of the case was compared; the case; its counts and time; its failures. */
export function caseText(report: CaseReport, engine: string): string {
  const failed = failuresOf(report).length;
  const { passed, open } = counts(report.steps);
  const word = failed > 0 ? "FAIL" : passed > 0 ? "ok" : "open";
  const title = report.name === "" ? report.id : `${report.id}: ${report.name}`;
  const outcome =
    report.broken === undefined ? countsText(report, { passed, failed, open }) : report.broken.got;
  const lines = [
    `${word.padEnd(INDENT.length)}${printable(title)} (${outcome})`,
    ...failureLines(report, engine).map((line) => INDENT + line),
    ...report.notes.map((note) => `${INDENT}note: ${printable(note)}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** The last lines; the very last is "N passed, N failed". */
export function summaryText(totals: Totals, engine: string, seconds: number): string {
  const { cases, steps, passed, failed, open } = totals;
  const ran = `${countText(cases, "case")}, ${countText(steps, "step")} on ${engine} in ${secondsText(seconds)}`;
  const left = open === 0 ? "" : `; ${open} open (not compared, as noted above)`;
  return `\n${ran}${left}\n${passed} passed, ${failed} failed\n`;
}

const secondsText = (seconds: number): string => `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;

function counts(steps: readonly StepReport[]): { passed: number; open: number } {
  const sum = (count: (step: StepReport) => number) => steps.reduce((all, step) => all + count(step), 0);
  return { passed: sum(({ passed }) => passed), open: sum(({ open }) => open) };
}

function countsText(
  { steps, seconds }: CaseReport,
  { passed, failed, open }: { passed: number; failed: number; open: number },
): string {
  const parts = [
    `${passed} passed`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(open > 0 ? [`${open} open`] : []),
  ];
  return `${countText(steps.length, "step")}: ${parts.join(", ")}; ${secondsText(seconds)}`;
}

function failureLines({ broken, steps }: CaseReport, engine: string): string[] {
  if (broken !== undefined) {
    return shown(
      linesOf(broken.why).map((line) => [line]),
      "problems",
    );
  }
  const failures = steps.flatMap((step) => step.failures);
  return shown(
    failures.map((failure) => linesOfFailure(failure, engine)),
    "failures",
  );
}

/** The lines of the first few, and how many more there are. */
function shown(blocks: readonly (readonly string[])[], noun: string): string[] {
  const more = blocks.length - FAILURES_SHOWN_MAX;
  const rest = more > 0 ? [`and ${more} more ${noun}; -o json has all of them`] : [];
  return [...blocks.slice(0, FAILURES_SHOWN_MAX).flat(), ...rest];
}

/** "step 1: TCP/80 from a/x to b/y (10.0.0.1 to 10.0.0.2)", and below it what was expected and why. */
export function linesOfFailure({ failure, cell }: CellFailure, engine: string): string[] {
  return [
    printable(`${failure.step}: ${cell}`),
    printable(`  expected ${failure.expected}, ${engine} says ${failure.got}`),
    ...linesOf(failure.why).map((line) => `    ${line}`),
  ];
}

const linesOf = (text: string): string[] => text.split("\n").map(printable);
