// Finds the cases of a command line and runs them on one engine.

import { type Dirent, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { codeOf, messageOf } from "../base/errors.ts";
import type { EngineName, EngineOptions } from "../engines/engine-names.ts";
import { openSession, type Session } from "../engines/open-engine.ts";
import { problemText } from "../model/problem.ts";
import { readCase } from "../source/conformance/case-reader.ts";
import { type Engine, runCase } from "../source/conformance/case-runner.ts";
import type { Case } from "../source/conformance/case-types.ts";
import {
  aborted,
  added,
  type CaseReport,
  failuresOf,
  NO_TOTALS,
  ran,
  type Totals,
  unreadable,
} from "./test-report.ts";

export interface RunOptions {
  /** Files, and directories of them. */
  readonly paths: readonly string[];
  readonly engine: EngineName;
  readonly engineOptions: EngineOptions;
  /** Which cases run; what cannot be read counts, whatever is selected. */
  readonly select: (of: Case) => boolean;
  /** Whether to stop after the first case with a failure. */
  readonly failFast: boolean;
  /** Called for every case as soon as it is done. */
  readonly onCase: (report: CaseReport) => void;
}

/** @throws ObstacleError, OperationError, BpfError where the engine cannot be opened; not for anything in a case */
export async function runCases(options: RunOptions): Promise<Totals> {
  const opener = reopening(() => openSession(options.engine, options.engineOptions));
  try {
    await opener.open();
    let totals = NO_TOTALS;
    for (const found of findCases(options.paths)) {
      const report =
        "reason" in found
          ? unreadable(found.file, [`${found.file}: ${found.reason}`])
          : await runFile(found, options, opener);
      if (report === undefined) continue;
      totals = added(totals, report);
      options.onCase(report);
      if (options.failFast && failuresOf(report).length > 0) break;
    }
    return totals;
  } finally {
    await opener.close();
  }
}

interface Opener {
  /** The session that is open, or a new one. */
  open(): Promise<Session>;
  close(): Promise<void>;
}

function reopening(make: () => Promise<Session>): Opener {
  let current: Session | undefined;
  return {
    async open() {
      current ??= await make();
      return current;
    },
    async close() {
      const closing = current;
      current = undefined;
      await closing?.close();
    },
  };
}

/** Undefined where the case is not selected. */
async function runFile(
  { file, text }: { readonly file: string; readonly text: string },
  { select }: RunOptions,
  opener: Opener,
): Promise<CaseReport | undefined> {
  const read = readCase(text, file);
  const problems = read.problems.map(problemText);
  if (read.case === undefined) return unreadable(file, problems);
  if (!select(read.case)) return undefined;
  const { engine, seconds } = timed((await opener.open()).engine());
  try {
    const report = ran(file, await runCase(read.case, engine), seconds);
    return { ...report, notes: [...problems.map((problem) => `warning: ${problem}`), ...report.notes] };
  } catch (thrown) {
    // What the engine holds of the machine is in an unknown state now: the next case gets a new one.
    await opener.close();
    return aborted(file, read.case, messageOf(thrown));
  }
}

/** The engine, and how long it took for each step so far. */
function timed(engine: Engine): { readonly engine: Engine; readonly seconds: readonly number[] } {
  const seconds: number[] = [];
  return {
    seconds,
    engine: {
      name: engine.name,
      async judge(step, of) {
        const startedAt = performance.now();
        const judgements = await engine.judge(step, of);
        seconds.push((performance.now() - startedAt) / 1000);
        return judgements;
      },
    },
  };
}

// Finds the case files of a command line: files by name, directories with everything below them.

/** A file that holds a case, by its own words; or what is in the way of one. */
export type Found =
  | { readonly file: string; readonly text: string }
  | { readonly file: string; readonly reason: string };

/** A manifest or a schema beside the cases names no format, or names it in other words. */
const NAMES_FORMAT = /(?<![\w"'])["']?format["']?\s*:\s*["']?np-conformance\//;
const EXTENSION = /\.(?:json|ya?ml)$/;

/**
 * One by one, so that a thousand files are not in memory at once. In a directory, files that are not cases and
 * entries with a leading dot are ignored; a directory without a case is an error.
 */
export function* findCases(paths: readonly string[]): Generator<Found> {
  for (const path of paths) {
    const found = isDirectory(path);
    if (typeof found === "string") yield { file: path, reason: found };
    else if (found) yield* below(path);
    else yield named(path);
  }
}

/** What may be meant as a case is for the parser to refuse, which says where. */
function named(path: string): Found {
  const found = read(path);
  if ("reason" in found || found.text.includes("np-conformance")) return found;
  return { file: path, reason: "is not a case: it has no format: np-conformance/1" };
}

function* below(path: string): Generator<Found> {
  let none = true;
  for (const each of walk(path, new Set())) {
    if ("text" in each && !NAMES_FORMAT.test(each.text)) continue;
    none = false;
    yield each;
  }
  if (none)
    yield { file: path, reason: "contains no case (.json, .yaml or .yml with format: np-conformance/1)" };
}

/** In the order of names. `seen` are directories on the way here, so that links in a circle end. */
function* walk(path: string, seen: ReadonlySet<string>): Generator<Found> {
  let entries: Dirent[];
  let real: string;
  try {
    real = realpathSync(path);
    entries = readdirSync(path, { withFileTypes: true });
  } catch (thrown) {
    yield { file: path, reason: reasonOf(thrown) };
    return;
  }
  if (seen.has(real)) return;
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(".")) continue;
    const child = join(path, entry.name);
    const directory = entry.isSymbolicLink() ? isDirectory(child) : entry.isDirectory();
    if (directory === true) yield* walk(child, new Set([...seen, real]));
    else if (EXTENSION.test(entry.name)) yield read(child);
  }
}

/** The reason, if it cannot be determined. */
function isDirectory(path: string): boolean | string {
  try {
    return statSync(path).isDirectory();
  } catch (thrown) {
    return reasonOf(thrown);
  }
}

const reasonOf = (thrown: unknown): string =>
  codeOf(thrown) === "ENOENT" ? "does not exist" : messageOf(thrown);

function read(file: string): Found {
  try {
    return { file, text: readFileSync(file, "utf8") };
  } catch (thrown) {
    return { file, reason: reasonOf(thrown) };
  }
}
