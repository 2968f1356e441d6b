// Manifests on disk, watched: every change gives a whole new reading.

import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf } from "../../base/errors.ts";
import type { Problem } from "../../model/problem.ts";
import { visible } from "../parse/text.ts";
import { createAlarm } from "./alarm.ts";
import { assemble, type ManifestsReading, unreadable } from "./assemble.ts";
import { systemReason } from "./files.ts";
import { lookAtAll } from "./look.ts";
import { advance, firstMemory, isHolding, type Memory, readingsIn } from "./memory.ts";

/**
 * How often the files are looked at (not read) without an event: events get lost, and there are none for what symbolic
 * links lead to, or on network file systems.
 */
export const RESCAN_MS = 500;

/** Looking takes at most one part in this many of the time, however many files there are. */
const RESCAN_SHARE = 20;

/** How soon to look again where something is awaited: a file that may be half-written, a directory that is gone. */
const RELOOK_MS = 50;

export interface WatchOptions {
  /** Gets the first reading and every one that differs from the one before; the next look waits for it. */
  readonly onChange: (reading: ManifestsReading) => void | Promise<void>;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** RESCAN_MS if not given. */
  readonly rescanMs?: number;
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
  let memory: Memory | undefined;
  let told: string | undefined;
  try {
    while (!signal.aborted) {
      // Watching starts before looking, so that nothing happens unseen in between.
      const watchProblem = await follower.follow();
      const started = performance.now();
      const look = await lookAtAll(path, memory ?? new Map());
      const lookMs = performance.now() - started;
      const before = memory;
      if (look.ok) memory = before ? advance(before, look.seen, performance.now()) : firstMemory(look.seen);
      const effect = before ? "what was read last stays in force" : NOT_READ_YET;
      const problems = [
        ...(look.ok ? [] : [{ ...look.problem, effect }]),
        ...(watchProblem ? [watchProblem] : []),
      ];
      const readings = readingsIn(memory ?? new Map());
      const text = JSON.stringify(problems);
      if (text !== told || !sameElements(readings, readingsIn(before ?? new Map()))) {
        told = text;
        await onChange(memory === undefined ? unreadable(problems) : assemble(readings, problems));
      }
      const soon = !look.ok || (memory !== undefined && isHolding(memory));
      await alarm.wait(soon ? RELOOK_MS : Math.max(rescanMs, lookMs * RESCAN_SHARE));
    }
  } finally {
    follower.close();
  }
}

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
