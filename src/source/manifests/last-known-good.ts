// Last known good: what cannot be read from a file's new content stays as it was read earlier, and what a changed file no
// longer names stays in use until the file is finished (docs/decisions/0022-unfinished-files.md).

import type { Problem } from "../../model/problem.ts";
import type { ParsedObject } from "../parse/parse-document.ts";
import type { Seen } from "./manifest-files.ts";
import { EMPTY_MARK, type FileReading } from "./manifest-reading.ts";

/**
 * The content in use of a file after it is read again: `previous` is what was in use before, undefined for a new file.
 *
 * - A file that cannot be read, or is not YAML throughout, stays as it was.
 * - So does one that is empty now: it was truncated. To remove its objects, remove the file.
 * - An object that cannot be read in full stays as it was, if it ever could.
 * - Where a document does not even name its object, the objects that the file no longer names stay: one of them may
 *   be that document. So do they where the last object cannot be read in full: the file may be cut off there.
 *
 * At the first read there is nothing to keep, and the parser's own way of failing closed counts. Every problem of the
 * latest content is kept, with what is done about it.
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
  const effect = `objects that the file no longer names stay in force: ${names}`;
  const problems = isUnclear
    ? latest.problems
    : [...latest.problems, { severity: "error", file: latest.file, reason: CUT_OFF } as const];
  return { ...latest, objects: [...objects, ...lost], problems: withEffect(problems, effect) };
}

const CUT_OFF = "may be cut off, as its last object cannot be read in full";

/** The content in use of a file that is open for writing: `previous` stays, and a problem reports it. */
export function whileWritten(previous: FileReading): FileReading {
  const effect =
    previous.objects.length === 0
      ? "its objects are not in force until it is closed"
      : staysInForce(previous);
  const problem: Problem = { severity: "error", file: previous.file, reason: "is open for writing", effect };
  return { ...previous, problems: [...previous.problems, problem] };
}

/** The same for a file whose content takes long to read. */
export function whileRead(previous: FileReading): FileReading {
  const effect = previous.objects.length === 0 ? "its objects are not in force yet" : staysInForce(previous);
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
    ? "its last known good object stays in force"
    : `the ${objects.length} last known good objects stay in force`;
}

/** The objects of one reading that the other does not name. */
export function objectsLost(previous: FileReading, latest: FileReading): readonly ParsedObject[] {
  const named = new Set(latest.objects.map((object) => object.identity));
  return previous.objects.filter((object) => !named.has(object.identity));
}

export const hasErrors = (reading: FileReading): boolean => problemsIn(reading).some(isError);

function keepObject(previous: ParsedObject | undefined, latest: ParsedObject): ParsedObject {
  if (previous === undefined || !previous.complete || latest.complete) return latest;
  const problems = withEffect(latest.problems, "its last known good version stays in force");
  return { ...previous, place: latest.place, problems };
}

const problemsIn = (reading: FileReading): readonly Problem[] => [
  ...reading.problems,
  ...reading.objects.flatMap((object) => object.problems),
];

const isError = (problem: Problem): boolean => problem.severity === "error";

const withEffect = (problems: readonly Problem[], effect: string): readonly Problem[] =>
  problems.map((problem) => (isError(problem) ? { ...problem, effect } : problem));

// The known content of a watched set of files: what is complete counts at once, losses only when they have lasted.

/** What removes something, or is faulty, counts once the file has stayed so for this long. */
export const SETTLE_MS = 250;

/** ... or, where it keeps changing, once this long has passed since it was last as it counts. */
export const HOLD_MAX_MS = 750;

/** Where it is unknown whether a file is open for writing, a change counts once the file has stayed so for this long. */
export const QUIET_MS = 1_000;

/** Reading a file is reported where it takes longer. */
const READ_REPORTED_MS = 5_000;

interface Remembered {
  /** The newest look; undefined where the file was gone. */
  readonly seen: Seen | undefined;
  /** The newest look at which it was not gone. */
  readonly last: Seen | undefined;
  /** What counts, as it was read; undefined where nothing has counted yet. */
  readonly counted: FileReading | undefined;
  /** ... and the result of it and those before it. */
  readonly inForce: FileReading;
  /** The same, as it is reported. */
  readonly shown: FileReading;
  /** Set while the newest look does not count yet. Times in milliseconds. */
  readonly held?: { readonly since: number; readonly changedAt: number };
}

/** By file. */
export type Memory = ReadonlyMap<string, Remembered>;

/** What was seen at the newest look, for lookAt(). */
export const seenIn = (memory: Memory, file: string): Seen | undefined => memory.get(file)?.seen;

/** Which file each of them is, at the newest look at it. */
export const identitiesIn = (memory: Memory): readonly string[] =>
  [...memory.values()].map(({ last }) => last?.identity ?? "");

/** Since when the newest look of some file does not count; undefined where all of them do. */
export function heldSince(memory: Memory): number | undefined {
  const since = [...memory.values()].flatMap(({ held }) => held?.since ?? []);
  return since.length === 0 ? undefined : Math.max(...since);
}

/** The content in use, in the order of the files' names. */
export const readingsIn = (memory: Memory): readonly FileReading[] =>
  [...memory].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { shown }]) => shown);

/**
 * The memory after a first look: everything counts at once, but of files that are `restored` the content that an
 * earlier agent could read is in use, as if this one had read it.
 */
export function firstMemory(
  seen: ReadonlyMap<string, Seen>,
  {
    now,
    restored,
  }: { readonly now: number; readonly restored: ReadonlyMap<string, FileReading> } = NOTHING_RESTORED,
): Memory {
  const memory = [...seen].map(([file, look]): [string, Remembered] => {
    const earlier = restored.get(file);
    if (earlier !== undefined)
      return [file, { seen: undefined, last: look, counted: earlier, inForce: earlier, shown: earlier }];
    const { reading, writing } = look;
    const inForce = keepLastGood(undefined, reading);
    return [
      file,
      {
        seen: look,
        last: look,
        counted: reading,
        inForce,
        shown: writing === true ? whileFilled(inForce) : inForce,
      },
    ];
  });
  return restored.size === 0 ? new Map(memory) : advance(new Map(memory), seen, { now });
}

const NOTHING_RESTORED = { now: 0, restored: new Map<string, FileReading>() };

/** A file that is open for writing and counts nevertheless, as there is nothing else. */
const whileFilled = (reading: FileReading): FileReading => ({
  ...reading,
  problems: [
    ...reading.problems,
    {
      severity: "error",
      file: reading.file,
      reason: "is open for writing",
      effect: "the objects that could be read are in force",
    },
  ],
});

export interface Advance {
  readonly now: number;
  /** All files are of another version, which is complete: a mounted ConfigMap was switched. */
  readonly switched?: boolean;
}

/**
 * The memory after a further look.
 *
 * A file that is open for writing does not count before it is closed. Where that cannot be determined, a change in
 * place counts when it has lasted. Files are also written by truncating and refilling them in two steps, or by moving
 * away the old one first, and either can be seen half-way: so an apparent loss (an object or the file is gone, a
 * document is faulty) is held back for a moment. Additions and changes count at once, and so does any content of a file
 * that replaced another one.
 */
export function advance(memory: Memory, seen: ReadonlyMap<string, Seen>, how: Advance): Memory {
  const known = withNewNames(memory, seen);
  const next = new Map<string, Remembered>();
  for (const file of new Set([...known.keys(), ...seen.keys()])) {
    const remembered = advanceFile(known.get(file), seen.get(file), how);
    if (remembered !== undefined) next.set(file, remembered);
  }
  return withoutMoved(next, known);
}

/** What is remembered of a file, under its new name where it was renamed: its content may be faulty now. */
function withNewNames(memory: Memory, seen: ReadonlyMap<string, Seen>): Memory {
  const names = newNames(
    [...memory].flatMap(([file, { last }]) => (last === undefined ? [] : [[file, last] as const])),
    seen,
    (file) => memory.has(file),
  );
  if (names.size === 0) return memory;
  return new Map(
    [...memory].map(([file, each]): [string, Remembered] => {
      const name = names.get(file);
      if (name === undefined) return [file, each];
      const inForce = { ...each.inForce, file: seen.get(name)?.reading.file ?? each.inForce.file };
      return [name, { ...each, inForce, shown: inForce }];
    }),
  );
}

/** Of files that are gone: the new file that each is now, which is the same file on disk. */
export function newNames(
  before: readonly (readonly [file: string, Pick<Seen, "identity">])[],
  seen: ReadonlyMap<string, Seen>,
  isKnown: (file: string) => boolean,
): ReadonlyMap<string, string> {
  const gone = before.filter(([file]) => !seen.has(file));
  if (gone.length === 0) return new Map();
  const added = new Map(
    [...seen].flatMap(([file, { identity }]) => (isKnown(file) ? [] : [[identity, file] as const])),
  );
  return new Map(
    gone.flatMap(([file, { identity }]) => {
      const name = added.get(identity);
      added.delete(identity);
      return name === undefined ? [] : [[file, name] as const];
    }),
  );
}

function advanceFile(
  known: Remembered | undefined,
  seen: Seen | undefined,
  { now, switched = false }: Advance,
): Remembered | undefined {
  const previous = known ?? nothingOf(seen);
  if (previous === undefined) return undefined;
  // The content that counts already: the process that has it open has not changed it.
  if (seen !== undefined && seen.reading === previous.counted) {
    const { counted, inForce } = previous;
    const isFirst = previous.held === undefined && seen.writing === true;
    return { seen, last: seen, counted, inForce, shown: isFirst ? previous.shown : inForce };
  }
  const changed = seen?.reading !== previous.seen?.reading || seen?.writing !== previous.seen?.writing;
  const since = previous.held?.since ?? now;
  const changedAt = changed ? now : (previous.held?.changedAt ?? now);
  if (isHeld(previous, seen, { switched, quietMs: now - changedAt, heldMs: now - since })) {
    const shown = shownWhileHeld(previous, seen, now - since);
    return { ...previous, seen, last: seen ?? previous.last, shown, held: { since, changedAt } };
  }
  if (seen === undefined) return undefined;
  const inForce = keepLastGood(previous.inForce, seen.reading);
  return { seen, last: seen, counted: seen.reading, inForce, shown: inForce };
}

/** A file that is open or being read is only reported where that takes longer than usual. */
function shownWhileHeld(previous: Remembered, seen: Seen | undefined, heldMs: number): FileReading {
  const isBeingRead = seen?.beingRead !== undefined;
  const isReported = seen?.writing === true && heldMs >= (isBeingRead ? READ_REPORTED_MS : SETTLE_MS);
  if (!isReported) return previous.inForce;
  const wasBeingRead = previous.seen?.beingRead !== undefined;
  if (wasBeingRead === isBeingRead && previous.held !== undefined && previous.shown !== previous.inForce)
    return previous.shown;
  return isBeingRead ? whileRead(previous.inForce) : whileWritten(previous.inForce);
}

function isHeld(
  previous: Remembered,
  seen: Seen | undefined,
  {
    switched,
    quietMs,
    heldMs,
  }: { readonly switched: boolean; readonly quietMs: number; readonly heldMs: number },
): boolean {
  if (seen?.writing === true) return true;
  if (switched) return false;
  const before = previous.seen;
  // Put in the place of another one, by renaming it, a file is complete.
  const isReplaced = seen !== undefined && before !== undefined && seen.identity !== before.identity;
  if (isReplaced && seen.writing === false && !seen.reading.blank && !seen.reading.failed) return false;
  if (seen?.writing === undefined && seen !== undefined && !isReplaced && quietMs < QUIET_MS) return true;
  const lasted = quietMs >= SETTLE_MS || heldMs >= HOLD_MAX_MS;
  return !lasted && takesAway(previous.inForce, seen?.reading);
}

/** The memory of a file before it existed. */
function nothingOf(seen: Seen | undefined): Remembered | undefined {
  if (seen === undefined) return undefined;
  const nothing = {
    file: seen.reading.file,
    objects: [],
    problems: [],
    failed: false,
    blank: true,
    isMarkedEmpty: false,
  };
  return { seen: undefined, last: undefined, counted: undefined, inForce: nothing, shown: nothing };
}

const takesAway = (inForce: FileReading, latest: FileReading | undefined): boolean =>
  latest === undefined || hasErrors(latest) || latest.blank || objectsLost(inForce, latest).length > 0;

/**
 * An object that a file no longer names, and that is only kept for now, is dropped where another file names it: it was
 * moved, and would else be declared twice.
 */
function withoutMoved(next: ReadonlyMap<string, Remembered>, before: Memory): Memory {
  const kept = [...next].filter(([, entry]) => keptObjects(entry).length > 0);
  if (kept.length === 0) return next;
  const elsewhere = new Map<string, string[]>();
  for (const [file, entry] of next) {
    const stale = new Set(keptObjects(entry));
    for (const object of entry.shown.objects) {
      if (stale.has(object)) continue;
      const files = elsewhere.get(object.identity);
      if (files === undefined) elsewhere.set(object.identity, [file]);
      else files.push(file);
    }
  }
  const result = new Map(next);
  for (const [file, entry] of kept) {
    const moved = new Set(
      keptObjects(entry).filter(({ identity }) => elsewhere.get(identity)?.some((other) => other !== file)),
    );
    if (moved.size === 0) continue;
    const objects = entry.shown.objects.filter((object) => !moved.has(object));
    // The same object where nothing has changed: callers that compare by identity see that.
    const last = before.get(file)?.shown;
    const isSame = last?.problems === entry.shown.problems && sameElements(last.objects, objects);
    result.set(file, { ...entry, shown: isSame ? last : { ...entry.shown, objects } });
  }
  return result;
}

/** Objects in use that the newest look does not name, while it does not count or is empty. */
function keptObjects({ seen, held, shown }: Remembered): readonly ParsedObject[] {
  if (held === undefined && seen?.reading.blank !== true) return [];
  return seen === undefined ? shown.objects : objectsLost(shown, seen.reading);
}

const sameElements = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((element, index) => element === b[index]);
