// The result of a run of cases, as plain data for every output format.

import {
  type CaseResult,
  cellText,
  type Mismatch,
  mismatchText,
  type Outcomes,
} from "../source/conformance/case-runner.ts";
import type { Case } from "../source/conformance/case-types.ts";

/** One cell that was not as expected, or a case that could not be run (then what there is no cell for is null). */
export interface Failure {
  readonly case: string;
  readonly step: string | null;
  readonly from: string | null;
  readonly to: string | null;
  readonly protocol: string | null;
  readonly port: number | null;
  readonly expected: string;
  readonly got: string;
  /** The engine's answer, then the API's verdict with policies and rules; one reason per line. */
  readonly why: string;
}

export interface StepReport {
  readonly title: string;
  readonly seconds: number;
  /** Cells. */
  readonly passed: number;
  readonly open: number;
  readonly failures: readonly CellFailure[];
}

export interface CellFailure {
  readonly failure: Failure;
  /** The cell in words, with its addresses. */
  readonly cell: string;
}

/** One file. */
export interface CaseReport {
  readonly file: string;
  /** The file's name where the case has none that can be read. */
  readonly id: string;
  readonly name: string;
  readonly seconds: number;
  readonly steps: readonly StepReport[];
  /** Why there are no steps: the case cannot be read, or the engine broke on it. It counts as one failure. */
  readonly broken: Failure | undefined;
  /** Why cells are open, and what differs without being wrong. */
  readonly notes: readonly string[];
}

export interface Totals {
  readonly cases: number;
  readonly steps: number;
  readonly passed: number;
  readonly failed: number;
  readonly open: number;
}

export const NO_TOTALS: Totals = { cases: 0, steps: 0, passed: 0, failed: 0, open: 0 };

export const failuresOf = ({ broken, steps }: CaseReport): readonly Failure[] =>
  broken === undefined ? steps.flatMap(({ failures }) => failures.map(({ failure }) => failure)) : [broken];

/** `totals` and one more case. */
export function added(totals: Totals, report: CaseReport): Totals {
  const sum = (count: (step: StepReport) => number) =>
    report.steps.reduce((all, step) => all + count(step), 0);
  return {
    cases: totals.cases + 1,
    steps: totals.steps + report.steps.length,
    passed: totals.passed + sum(({ passed }) => passed),
    failed: totals.failed + failuresOf(report).length,
    open: totals.open + sum(({ open }) => open),
  };
}

/** A case that ran. `seconds` are those of its steps, in their order. */
export function ran(file: string, result: CaseResult, seconds: readonly number[]): CaseReport {
  return {
    file,
    id: result.case.id,
    name: result.case.name,
    seconds: seconds.reduce((all, each) => all + each, 0),
    steps: result.steps.map((step, index) => ({
      title: step.step.title,
      seconds: seconds[index] ?? 0,
      passed: step.agreed,
      open: openIn(step),
      failures: step.mismatches.map((mismatch) => failureOf(result, mismatch)),
    })),
    broken: undefined,
    notes: notesOf(result),
  };
}

/** An unreadable case file. */
export function unreadable(file: string, problems: readonly string[]): CaseReport {
  const facts = { expected: "a case", got: "unreadable", why: problems.join("\n") };
  return { file, id: file, name: "", seconds: 0, steps: [], broken: brokenOf(file, facts), notes: [] };
}

/** A case on which the engine could not go on: no verdict of it counts. */
export function aborted(file: string, of: Case, reason: string): CaseReport {
  const facts = { expected: "verdicts", got: "error", why: reason };
  return { file, id: of.id, name: of.name, seconds: 0, steps: [], broken: brokenOf(of.id, facts), notes: [] };
}

const brokenOf = (id: string, facts: Pick<Failure, "expected" | "got" | "why">): Failure => ({
  case: id,
  step: null,
  from: null,
  to: null,
  protocol: null,
  port: null,
  ...facts,
});

/** What was not compared: left open by the case, or beyond the engine, or different and allowed to be. */
const openIn = ({ open, unable, optionalMismatches }: Outcomes): number =>
  open + unable + optionalMismatches.length;

function failureOf(result: CaseResult, { step, cell, judgement }: Mismatch): CellFailure {
  const why = judgement.why();
  const failure = {
    case: result.case.id,
    step: step.title,
    from: cell.from.name,
    to: cell.to.name,
    protocol: cell.protocol,
    port: cell.port,
    expected: cell.expected,
    got: judgement.outcome,
    why: cell.reason === "" ? why : `${why}\nthe case says: ${cell.reason}`,
  };
  return { failure, cell: cellText(cell) };
}

function notesOf(result: CaseResult): string[] {
  const notes: string[] = [];
  if (result.unable > 0) {
    notes.push(`${result.unable} beyond ${result.engine}: ${result.unableBecause.join("; ")}`);
  }
  if (result.open > 0) notes.push(`${result.open} left open by the case`);
  return [
    ...notes,
    ...result.optionalMismatches.map(
      (mismatch) => `implementation-defined: ${mismatchText(result, mismatch)}`,
    ),
  ];
}
