// Manifests on disk, watched: every change gives a whole new reading.

import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../../base/errors.ts";
import type { Problem } from "../../model/problem.ts";
import { visible } from "../parse/text.ts";
import { createAlarm } from "./alarm.ts";
import { assemble, type ManifestsReading, unreadable } from "./assemble.ts";
import { type OpenForWriting, systemReason } from "./files.ts";
import { lookAtAll } from "./look.ts";
import { advance, firstMemory, heldSince, type Memory, readingsIn } from "./memory.ts";
import type { FileReading } from "./reading.ts";

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

/** How long the first snapshot waits for files that are open for writing: there is no earlier content of them to go by. */
export const FIRST_WRITERS_MS = 10_000;

export interface WatchOptions {
  /** Gets the first reading and every one that differs from the one before; the next look waits for it. */
  readonly onChange: (reading: ManifestsReading) => void | Promise<void>;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** RESCAN_MS if not given. */
  readonly rescanMs?: number;
  /** Whether a file is open for writing: without it, changes in place count when they have lasted. */
  readonly openForWriting?: OpenForWriting;
}

/** The effect of a path that could not be read yet. */
export const NOT_READ_YET = "the kernel goes on with what it was last given";

/**
 * Watches the manifests at a path until the signal aborts, and then resolves. It is level-triggered: an event only
 * makes it look, so a burst of them gives one reading, and the newest state is what counts. What cannot be read (any
 * more) stays as it last could be, see keepLastGood(). Rejects only with what `onChange` throws.
 */
export async function watchManifests(path: string, options: WatchOptions): Promise<void> {
  const { onChange, signal, rescanMs = RESCAN_MS } = options;
  const alarm = createAlarm(signal);
  const follower = createFollower(path, alarm.ring);
  const looker = openLooker(path, options.openForWriting);
  let reported: string | undefined;
  let shown: readonly FileReading[] = [];
  try {
    while (!signal.aborted) {
      // Watching starts before looking, so that nothing happens unseen in between.
      const watchProblem = await follower.follow();
      const { memory, problems: found, lookMs, isAwaited } = await looker.look();
      const problems = [...found, ...(watchProblem ? [watchProblem] : [])];
      const readings = readingsIn(memory ?? new Map());
      const text = JSON.stringify(problems);
      if (text !== reported || !sameElements(readings, shown)) {
        reported = text;
        shown = readings;
        await onChange(memory === undefined ? unreadable(problems) : assemble(readings, problems));
      }
      await alarm.wait(isAwaited ? RELOOK_MS : Math.max(rescanMs, lookMs * RESCAN_SHARE));
    }
  } finally {
    follower.close();
  }
}

/**
 * Reads the manifests at a path once. Waits for files that are open for writing, for a while. Never throws: what cannot be
 * read is a Problem.
 */
export async function readOnce(path: string, openForWriting?: OpenForWriting): Promise<ManifestsReading> {
  const looker = openLooker(path, openForWriting);
  for (;;) {
    const { memory, problems, isAwaited } = await looker.look();
    if (memory !== undefined) return assemble(readingsIn(memory), problems);
    if (!isAwaited || looker.isGone()) return unreadable(problems);
    await sleep(RELOOK_MS);
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
}

/** Looks again and again, and remembers. */
function openLooker(path: string, openForWriting: OpenForWriting | undefined) {
  const begun = performance.now();
  const file = visible(path);
  let memory: Memory | undefined;
  let version: string | undefined;
  /** The directory that held manifests last. */
  let filled: string | undefined;
  let hadObjects = false;
  let isGone = false;
  const failed = (problem: Problem): Problem => ({
    ...problem,
    effect: memory === undefined ? NOT_READ_YET : "what was read last stays in force",
  });
  const look = async (): Promise<Looked> => {
    const started = performance.now();
    const found = await lookAtAll(path, memory ?? new Map(), openForWriting);
    const now = performance.now();
    const lookMs = now - started;
    isGone = !found.ok;
    if (!found.ok) return { memory, problems: [failed(found.problem)], lookMs, isAwaited: true };
    const { seen, identity } = found;
    if (seen.size === 0 && filled !== undefined && filled !== identity) {
      // A file system that is not mounted any more, for one. In the same directory, files that are gone were removed.
      const reason = "was replaced by an empty directory";
      return { memory, problems: [failed({ severity: "error", file, reason })], lookMs, isAwaited: true };
    }
    if (memory === undefined && now - begun < FIRST_WRITERS_MS) {
      const written = [...seen.values()].filter(({ writing }) => writing === true);
      const problems = written.map(({ reading }) =>
        failed({ severity: "error", file: reading.file, reason: "is open for writing" }),
      );
      if (problems.length > 0) return { memory, problems, lookMs, isAwaited: true };
    }
    const switched = version !== undefined && found.version !== undefined && version !== found.version;
    version = found.version;
    memory = memory === undefined ? firstMemory(seen) : advance(memory, seen, { now, switched });
    if (seen.size > 0) filled = identity;
    const isEmpty = readingsIn(memory).every(({ objects }) => objects.length === 0);
    hadObjects ||= !isEmpty;
    const since = heldSince(memory);
    const isAwaited = since !== undefined && now - since < RELOOK_FOR_MS;
    return {
      memory,
      problems: isEmpty ? [emptyProblem(file, seen.size, hadObjects)] : [],
      lookMs,
      isAwaited,
    };
  };
  return { look, isGone: () => isGone };
}

/** That nothing is enforced is seldom meant, and never goes unreported. */
const emptyProblem = (file: string, files: number, hadObjects: boolean): Problem => ({
  severity: hadObjects ? "error" : "warning",
  file,
  reason: files === 0 ? "holds no manifests (.yaml, .yml or .json)" : "holds no objects that are read",
  effect: "no policy is in force",
});

const sameElements = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((element, index) => element === b[index]);

interface Follower {
  /** Watches the directory that now has the path's name. A Problem where that is not possible. */
  readonly follow: () => Promise<Problem | undefined>;
  readonly close: () => void;
}

/** Watches a directory, or the directory of a file, also after it has been replaced by another of the same name. */
function createFollower(path: string, onEvent: () => void): Follower {
  let watcher: FSWatcher | undefined;
  let watched: string | undefined;
  const close = (): void => {
    watcher?.close();
    watcher = undefined;
    watched = undefined;
  };
  const follow = async (): Promise<Problem | undefined> => {
    try {
      const { directory, identity } = await directoryOf(path);
      if (identity === watched) return undefined;
      close();
      watcher = watch(directory, onEvent);
      watched = identity;
      watcher.on("error", () => {
        close();
        onEvent();
      });
      return undefined;
    } catch (error) {
      close();
      // That there is nothing to watch is for the look to tell.
      if (codeOf(error) === "ENOENT") return undefined;
      const reason = `cannot be watched: ${systemReason(error)}`;
      return {
        severity: "warning",
        file: visible(path),
        reason,
        effect: "changes are noticed by looking now and then",
      };
    }
  };
  return { follow, close };
}

/** The directory to watch: the path itself, or the parent of a file (or of what is not there yet). */
async function directoryOf(path: string): Promise<{ directory: string; identity: string }> {
  const own = await stat(path).catch(() => undefined);
  if (own?.isDirectory()) return { directory: path, identity: `${own.dev}:${own.ino}` };
  const directory = dirname(path);
  const parent = await stat(directory);
  return { directory, identity: `${parent.dev}:${parent.ino}` };
}
