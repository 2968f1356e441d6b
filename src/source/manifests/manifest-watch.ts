// Watches manifests on disk: every change gives a complete new snapshot.

import { setTimeout as sleep } from "node:timers/promises";
import { openFileWatcher } from "../../base/file-watcher.ts";
import type { Problem } from "../../model/problem.ts";
import { visible } from "../parse/fields.ts";
import { assemble, type ManifestsReading, unreadable } from "./assemble-cluster.ts";
import { openContents } from "./file-contents.ts";
import {
  advance,
  firstMemory,
  heldSince,
  identitiesIn,
  type Memory,
  readingsIn,
  seenIn,
} from "./last-known-good.ts";
import { openKept } from "./last-known-good-copies.ts";
import { type Look, lookAtAll, type OpenForWriting, type Seen, systemReason } from "./manifest-files.ts";
import { EMPTY_MARK, type FileReading } from "./manifest-reading.ts";
import type { ReaderLimits } from "./reader-pool.ts";

export type { ManifestsReading } from "./assemble-cluster.ts";
export type { OpenForWriting } from "./manifest-files.ts";

/**
 * How often the files are looked at (not read) without an event: events get lost, and there are none for what symbolic
 * links lead to, or on network file systems.
 */
export const RESCAN_MS = 500;

/** Looking takes at most one part in this many of the time, however many files there are. */
const RESCAN_SHARE = 20;

/** How soon to look again where something is awaited: a file that may be half-written, a directory that is gone. */
const RELOOK_MS = 50;

/** How long a look is repeated so soon; what takes longer is looked at as often as everything else. */
const RELOOK_FOR_MS = 2_000;

/** How long the first snapshot waits for files that are open for writing: there is no earlier content of them to use. */
export const FIRST_WRITERS_MS = 10_000;

export interface WatchOptions {
  /** Gets the first snapshot and every one that differs from the one before; the next look waits for it. */
  readonly onChange: (reading: ManifestsReading) => void | Promise<void>;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** RESCAN_MS if not given. */
  readonly rescanMs?: number;
  /** Whether a file is open for writing: without it, changes in place count when they have lasted. */
  readonly openForWriting?: OpenForWriting;
  /** The directory in which the last good content of files outlives this process; without it, it does not. */
  readonly kept?: string;
  /** Of the processes that read files. */
  readonly limits?: ReaderLimits;
}

/** The effect of a path that could not be read yet. */
export const NOT_READ_YET = "the kernel keeps the last applied state";

/**
 * Watches the manifests at a path until the signal aborts, and then resolves. It is level-triggered: an event only
 * triggers a look, so a burst of them gives one snapshot, and the newest state is what counts. What cannot be read (any
 * more) stays as it last could be, see keepLastGood(). Rejects only with what `onChange` throws.
 */
export async function watchManifests(path: string, options: WatchOptions): Promise<void> {
  const { onChange, signal, rescanMs = RESCAN_MS } = options;
  const watcher = openFileWatcher(path, signal);
  const looker = openLooker(path, options, watcher.fire);
  let reported: string | undefined;
  let shown: readonly FileReading[] = [];
  try {
    while (!signal.aborted) {
      // Watching starts before looking, so that nothing happens unseen in between.
      const watchError = await watcher.follow();
      const { memory, problems: found, lookMs, isAwaited } = await looker.look();
      const problems = watchError === undefined ? found : [...found, notWatched(path, watchError)];
      const readings = readingsIn(memory ?? new Map());
      const text = JSON.stringify(problems);
      if (text !== reported || !sameElements(readings, shown)) {
        reported = text;
        shown = readings;
        await onChange(memory === undefined ? unreadable(problems) : assemble(readings, problems));
      }
      await watcher.wait(isAwaited ? RELOOK_MS : Math.max(rescanMs, lookMs * RESCAN_SHARE));
    }
  } finally {
    watcher.close();
    looker.close();
  }
}

/**
 * Reads the manifests at a path once: a directory (not its subdirectories) or one file. Waits for files that are open
 * for writing, for a while. Never throws: what cannot be read is a Problem, and a policy that cannot be completely
 * read fails closed (see src/source/parse/parse-document.ts and src/source/manifests/assemble-cluster.ts).
 */
export async function readManifests(path: string, options: LookOptions = {}): Promise<ManifestsReading> {
  const looker = openLooker(path, options, () => undefined);
  try {
    for (;;) {
      const { memory, problems, isAwaited, isUnfinished } = await looker.look();
      if (memory === undefined && !isUnfinished) return unreadable(problems);
      if (memory !== undefined && !isAwaited) return assemble(readingsIn(memory), problems);
      await sleep(RELOOK_MS);
    }
  } finally {
    looker.close();
  }
}

interface Looked {
  /** Undefined as long as nothing could be read. */
  readonly memory: Memory | undefined;
  /** Of the directory as a whole. */
  readonly problems: readonly Problem[];
  readonly lookMs: number;
  /** Something is about to change. */
  readonly isAwaited: boolean;
  /** The first snapshot waits for files that are open for writing. */
  readonly isUnfinished: boolean;
}

export type LookOptions = Pick<WatchOptions, "openForWriting" | "kept" | "limits">;

/** Looks repeatedly, and keeps what it saw. `onRead` is called when there is more to see. */
function openLooker(path: string, { openForWriting, kept: keptIn, limits }: LookOptions, onRead: () => void) {
  const contents = openContents(onRead, limits);
  const kept = openKept(keptIn, path, contents);
  const how = {
    contents,
    lastGood: kept.contentOf,
    ...(openForWriting === undefined ? {} : { openForWriting }),
  };
  const begun = performance.now();
  const file = visible(path);
  let memory: Memory | undefined;
  let version: string | undefined;
  /** What the looks before the first snapshot have seen. */
  let early: ReadonlyMap<string, Seen> = new Map();
  /** The directory that held manifests last. */
  let filled: string | undefined;
  let hadObjects = false;
  let saved: readonly unknown[] | undefined;
  const failed = (problem: Problem): Problem => ({
    ...problem,
    effect: memory === undefined ? NOT_READ_YET : "the last known good state stays in force",
  });
  const knownOf = (each: string): Seen | undefined =>
    memory === undefined ? early.get(each) : seenIn(memory, each);

  /** Undefined while files are waited for. */
  async function firstSnapshot(seen: ReadonlyMap<string, Seen>, now: number): Promise<Memory | undefined> {
    early = seen;
    const restored = await kept.restore(seen);
    const unfinished = unfinishedIn(seen, restored);
    const isWaiting =
      unfinished.some(({ beingRead }) => beingRead !== undefined) ||
      (now - begun < FIRST_WRITERS_MS && unfinished.length > 0);
    return isWaiting ? undefined : firstMemory(seen, { now, restored });
  }

  async function advanced(found: Look & { readonly ok: true }, now: number): Promise<Memory | undefined> {
    const { seen } = found;
    const switched = version !== undefined && found.version !== undefined && version !== found.version;
    version = found.version;
    if (memory === undefined) return firstSnapshot(seen, now);
    return advance(memory, seen, { now, switched });
  }

  async function save(identity: string): Promise<void> {
    if (memory === undefined || keptIn === undefined) return;
    const state = [...readingsIn(memory), ...identitiesIn(memory)];
    if (saved !== undefined && filled === identity && sameElements(state, saved)) return;
    saved = state;
    await kept.save(memory, identity);
  }

  return {
    look: async (): Promise<Looked> => {
      const started = performance.now();
      const found = await lookAtAll(path, knownOf, how);
      const now = performance.now();
      const looked = { lookMs: now - started, isAwaited: true, isUnfinished: false };
      if (!found.ok) return { ...looked, memory, problems: [failed(found.problem)] };
      const { seen, identity } = found;
      filled ??= await kept.directory();
      if (seen.size === 0 && filled !== undefined && filled !== identity) {
        // A file system that is not mounted any more, for one. In the same directory, files that are gone were removed.
        const fix = `if it is meant to be empty, create a file there with the comment # ${EMPTY_MARK}`;
        const reason = "was replaced by an empty directory";
        return { ...looked, memory, problems: [failed({ severity: "error", file, reason, fix })] };
      }
      memory = await advanced(found, now);
      if (memory === undefined) {
        const problems = unfinishedIn(seen, new Map()).flatMap(({ reading, beingRead }) => {
          const { file: of, isTransient } = reading;
          if (isTransient === true) return reading.problems.map(failed);
          return beingRead === undefined
            ? failed({ severity: "error", file: of, reason: "is open for writing" })
            : failed({ severity: "warning", file: of, reason: "is still being read" });
        });
        return { ...looked, memory, problems, isUnfinished: true };
      }
      await save(identity);
      if (seen.size > 0) filled = identity;
      const readings = readingsIn(memory);
      hadObjects ||= readings.some(({ objects }) => objects.length > 0);
      const since = heldSince(memory);
      return {
        ...looked,
        memory,
        problems: [emptyProblem(file, readings, hadObjects), kept.problem()].filter(
          (each) => each !== undefined,
        ),
        isAwaited: since !== undefined && now - since < RELOOK_FOR_MS,
      };
    },
    close: () => contents.close(),
  };
}

/** The files without earlier content that are open for writing, being read or to be read again. */
const unfinishedIn = (
  seen: ReadonlyMap<string, Seen>,
  known: ReadonlyMap<string, unknown>,
): readonly Seen[] =>
  [...seen].flatMap(([file, each]) => {
    const isUnfinished = each.writing === true || each.reading.isTransient === true;
    return isUnfinished && !known.has(file) ? each : [];
  });

/**
 * An empty configuration is rarely meant, and always reported, unless a file states that it is meant, or has problems
 * itself.
 */
function emptyProblem(
  file: string,
  readings: readonly FileReading[],
  hadObjects: boolean,
): Problem | undefined {
  const isExplained = ({ objects, problems, isMarkedEmpty }: FileReading): boolean =>
    objects.length > 0 || problems.length > 0 || isMarkedEmpty;
  if (readings.some(isExplained)) return undefined;
  return {
    severity: hadObjects ? "error" : "warning",
    file,
    reason:
      readings.length === 0
        ? "contains no manifests (.yaml, .yml or .json)"
        : "contains no objects of supported kinds",
    fix: `if that is intended, create a file there with the comment # ${EMPTY_MARK}`,
    effect: "no policy is in force",
  };
}

const sameElements = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((element, index) => element === b[index]);

const notWatched = (path: string, error: unknown): Problem => ({
  severity: "warning",
  file: visible(path),
  reason: `cannot be watched: ${systemReason(error)}`,
  effect: "changes are noticed by polling",
});
