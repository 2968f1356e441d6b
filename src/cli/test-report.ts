// The result of `weir test`: as data, as text, and as JUnit XML.

import { countText, printable } from "../observe/text-output.ts";
import {
  type CaseResult,
  cellText,
  type Mismatch,
  mismatchText,
  type Outcomes,
} from "../source/conformance/case-runner.ts";
import type { Case } from "../source/conformance/case-types.ts";

// The result of a run of cases, as plain data for every output format.

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

/** What was not compared: not compared, by the case, or beyond the engine, or different and allowed to be. */
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
    why: cell.reason === "" ? why : `${why}\nthe case's reason: ${cell.reason}`,
  };
  return { failure, cell: cellText(cell) };
}

function notesOf(result: CaseResult): string[] {
  const notes: string[] = [];
  if (result.unable > 0) {
    notes.push(`${result.unable} unsupported by ${result.engine}: ${result.unableBecause.join("; ")}`);
  }
  if (result.open > 0) notes.push(`${result.open} not compared, by the case`);
  return [
    ...notes,
    ...result.optionalMismatches.map(
      (mismatch) => `implementation-defined: ${mismatchText(result, mismatch)}`,
    ),
  ];
}

// A run of cases for people: a line a case, and below it what failed and why.

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

// A run of cases as JUnit XML, which CI systems show: a test suite for every case, a test case for every step.

interface Element {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  /** Elements, or the text of the only child. */
  readonly content: readonly Element[] | string;
}

/** JUnit counts steps; a failure's text has the number of mismatched cells. */
export function junitText(reports: readonly CaseReport[], engine: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${xml(
    element(
      "testsuites",
      { name: `weir test on ${engine}`, ...tally(reports), time: timeOf(reports) },
      reports.map((report) => suiteOf(report, engine)),
    ),
    "",
  )}`;
}

function suiteOf(report: CaseReport, engine: string): Element {
  const { id, name, file, steps, broken, notes } = report;
  const whole = { classname: id, name: name || file, file, time: timeOf([report]) };
  const tests =
    broken === undefined
      ? steps.map((step) => testOf(step, report, engine))
      : [element("testcase", whole, [element("error", { message: firstLine(broken.why) }, broken.why)])];
  const remarks = notes.length === 0 ? [] : [element("system-out", {}, notes.join("\n"))];
  return element("testsuite", { name: id, ...tally([report]), time: timeOf([report]), file }, [
    ...tests,
    ...remarks,
  ]);
}

function testOf(step: StepReport, { id, file }: CaseReport, engine: string): Element {
  const { failures, passed } = step;
  const facts = { classname: id, name: step.title, file, time: step.seconds.toFixed(3) };
  if (failures.length > 0) {
    const lines = failures.flatMap((failure) => linesOfFailure(failure, engine));
    const message = `${failures.length} of ${failures.length + passed} cells not as expected`;
    return element("testcase", facts, [element("failure", { message }, lines.join("\n"))]);
  }
  return element(
    "testcase",
    facts,
    passed > 0 ? [] : [element("skipped", { message: "no cell was compared" })],
  );
}

type Tally = Readonly<Record<"tests" | "failures" | "errors" | "skipped", number>>;

function tally(reports: readonly CaseReport[]): Tally {
  const steps = reports.flatMap((report) => report.steps);
  const errors = reports.filter(({ broken }) => broken !== undefined).length;
  return {
    tests: steps.length + errors,
    failures: steps.filter(({ failures }) => failures.length > 0).length,
    errors,
    skipped: steps.filter(({ failures, passed }) => failures.length === 0 && passed === 0).length,
  };
}

const timeOf = (reports: readonly CaseReport[]): string =>
  reports.reduce((all, { seconds }) => all + seconds, 0).toFixed(3);

const firstLine = (lines: string): string => lines.split("\n")[0] ?? "";

const element = (
  tag: string,
  attributes: Element["attributes"],
  content: Element["content"] = [],
): Element => ({
  tag,
  attributes,
  content,
});

/** Elements on lines of their own; text as it is, since white space counts in it. */
function xml({ tag, attributes, content }: Element, indent: string): string {
  const list = Object.entries(attributes).map(([name, value]) => ` ${name}="${inAttribute(String(value))}"`);
  const head = `${indent}<${tag}${list.join("")}`;
  if (content.length === 0) return `${head}/>\n`;
  if (typeof content === "string") return `${head}>${escaped(content)}</${tag}>\n`;
  const inner = content.map((child) => xml(child, `${indent}  `));
  return `${head}>\n${inner.join("")}${indent}</${tag}>\n`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

/** XML 1.0 has no way at all to write most control characters (section 2.2), so they become U+FFFD. */
const escaped = (value: string): string =>
  value
    .toWellFormed()
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML cannot hold
    .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
    .replaceAll(/[&<>"]/g, (character) => ENTITIES[character] ?? character);

/** Line ends in attributes would be read as spaces (section 3.3.3). */
const inAttribute = (value: string): string =>
  escaped(value).replaceAll(/[\n\r\t]/g, (character) => `&#${character.charCodeAt(0)};`);
