// A run of cases as JUnit XML, which CI systems show: a test suite for every case, a test case for every step.

import type { CaseReport, StepReport } from "../test-report.ts";
import { linesOfFailure } from "./text.ts";

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
