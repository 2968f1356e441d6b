// Runs the cases of a command line on one engine, file after file.

import { messageOf } from "../base/errors.ts";
import type { EngineName, EngineOptions } from "../engines/engine-names.ts";
import { openSession, type Session } from "../engines/open-engine.ts";
import { problemText } from "../model/problem.ts";
import { readCase } from "../source/conformance/case-reader.ts";
import { type Engine, runCase } from "../source/conformance/case-runner.ts";
import type { Case } from "../source/conformance/case-types.ts";
import { findCases } from "./test/files.ts";
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
