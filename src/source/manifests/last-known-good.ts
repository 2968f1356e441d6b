// Last good: what a new reading of a file cannot say stays as an earlier reading said it.

import type { Problem } from "../../model/problem.ts";
import type { ParsedObject } from "../parse/parse-document.ts";
import { EMPTY_MARK, type FileReading } from "./manifest-reading.ts";

/**
 * What is in force of a file after a new reading: `previous` is what was in force before, undefined for a new file.
 *
 * - A file that cannot be read, or is not YAML throughout, stays as it was.
 * - So does one that says nothing any more: it was truncated. To remove its objects, the file is removed.
 * - An object that cannot be read in full stays as it was, if it ever could.
 * - Where a document does not even say which object it is, the objects that the file no longer names stay: one of
 *   them may be that document. So do they where the last object cannot be read in full: the file may be cut off there.
 *
 * At a first reading there is nothing to keep, and the parser's own way of failing closed counts. Every problem of the
 * new reading is kept, with what is done about it.
 */
export function keepLastGood(previous: FileReading | undefined, latest: FileReading): FileReading {
  if (previous === undefined || previous.objects.length === 0)
    return latest.blank ? { ...latest, problems: [neverFilled(latest)] } : latest;
  if (latest.failed)
    return { ...previous, problems: withEffect(problemsIn(latest), staysInForce(previous)), failed: true };
  if (latest.blank) return { ...previous, problems: [emptied(previous)], failed: false };
  const before = new Map(previous.objects.map((object) => [object.identity, object]));
  const objects = latest.objects.map((object) => keepObject(before.get(object.identity), object));
  const lost = objectsLost(previous, latest);
  const isUnclear = latest.problems.some(isError);
  const isCutOff = latest.objects.at(-1)?.complete === false;
  if (lost.length === 0 || !(isUnclear || isCutOff)) return { ...latest, objects };
  const names = lost.map((object) => object.identity).join(", ");
  const effect = `what the file no longer names stays in force: ${names}`;
  const problems = isUnclear
    ? latest.problems
    : [...latest.problems, { severity: "error", file: latest.file, reason: CUT_OFF } as const];
  return { ...latest, objects: [...objects, ...lost], problems: withEffect(problems, effect) };
}

const CUT_OFF = "may be cut off, as its last object cannot be read in full";

/** What is in force of a file that is open for writing: `previous` stays, and a problem reports it. */
export function whileWritten(previous: FileReading): FileReading {
  const effect =
    previous.objects.length === 0 ? "nothing of it is in force until it is closed" : staysInForce(previous);
  const problem: Problem = { severity: "error", file: previous.file, reason: "is open for writing", effect };
  return { ...previous, problems: [...previous.problems, problem] };
}

/** The same of a file whose content takes long to read. */
export function whileRead(previous: FileReading): FileReading {
  const effect = previous.objects.length === 0 ? "nothing of it is in force yet" : staysInForce(previous);
  const problem: Problem = {
    severity: "warning",
    file: previous.file,
    reason: "is still being read",
    effect,
  };
  return { ...previous, problems: [...previous.problems, problem] };
}

const emptied = (previous: FileReading): Problem => ({
  severity: "error",
  file: previous.file,
  reason: "is empty",
  fix: `remove the file to remove its objects, or write the comment # ${EMPTY_MARK} into it`,
  effect: staysInForce(previous),
});

/** It may have held objects before this agent started. */
const neverFilled = ({ file }: FileReading): Problem => ({
  severity: "warning",
  file,
  reason: "is empty",
  fix: `remove the file, or write the comment # ${EMPTY_MARK} into it`,
});

function staysInForce({ objects }: FileReading): string {
  return objects.length === 1
    ? "the object of its last good reading stays in force"
    : `the ${objects.length} objects of its last good reading stay in force`;
}

/** The objects of one reading that the other does not name. */
export function objectsLost(previous: FileReading, latest: FileReading): readonly ParsedObject[] {
  const named = new Set(latest.objects.map((object) => object.identity));
  return previous.objects.filter((object) => !named.has(object.identity));
}

export const hasErrors = (reading: FileReading): boolean => problemsIn(reading).some(isError);

function keepObject(previous: ParsedObject | undefined, latest: ParsedObject): ParsedObject {
  if (previous === undefined || !previous.complete || latest.complete) return latest;
  const problems = withEffect(latest.problems, "its last good version stays in force");
  return { ...previous, place: latest.place, problems };
}

const problemsIn = (reading: FileReading): readonly Problem[] => [
  ...reading.problems,
  ...reading.objects.flatMap((object) => object.problems),
];

const isError = (problem: Problem): boolean => problem.severity === "error";

const withEffect = (problems: readonly Problem[], effect: string): readonly Problem[] =>
  problems.map((problem) => (isError(problem) ? { ...problem, effect } : problem));
