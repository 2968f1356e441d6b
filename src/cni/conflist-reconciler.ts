// The conflist reconciler: keeps Weir's entry in the node's CNI configuration, with backoff.

import { type FSWatcher, watch } from "node:fs";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Problem } from "../model/problem.ts";
import { type InstallOptions, install } from "./plugin-install.ts";

// Keeps the plugin in its place while others write the configuration: restored at once, then with backoff if removed
// repeatedly.

/** Debounce: events that belong together (a file is written, then renamed) are handled as one. */
const TOGETHER_MS = 50;
/** Events get lost, and some file systems have none. */
const LOOK_EVERY_MS = 5_000;
/** Restoring the entry again this soon after the last time counts as a conflict with another writer. */
const QUARREL_MS = 60_000;
const PAUSE_FIRST_MS = 1_000;
const PAUSE_LAST_MS = 60_000;
/** So many conflicts in a row are reported. */
const QUARREL_TOLD = 3;

export interface Follower {
  problems(): readonly Problem[];
  close(): void;
}

export interface FollowEnv {
  /** Files that were written, for the log. */
  readonly onWritten: (files: readonly string[]) => void;
  /** The problems have changed. */
  readonly onProblems: () => void;
}

/** Backoff before the entry is restored, by how many times that came soon after the time before. */
export const pauseOf = (times: number): number =>
  times <= 1 ? 0 : Math.min(PAUSE_FIRST_MS * 2 ** (times - 2), PAUSE_LAST_MS);

export function reconcileConflist(options: InstallOptions, env: FollowEnv): Follower {
  let problems: readonly Problem[] = [];
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let times = 0;
  let writtenAt = Number.NEGATIVE_INFINITY;
  const tell = (next: readonly Problem[]): void => {
    const changed = JSON.stringify(next) !== JSON.stringify(problems);
    problems = next;
    if (changed) env.onProblems();
  };
  let file = options.confDir;
  const lookIn = (ms: number): void => {
    clearTimeout(timer);
    const rest = writtenAt + pauseOf(times) - performance.now();
    if (!closed) timer = setTimeout(look, Math.max(ms, rest)).unref();
  };
  const soon = (): void => lookIn(TOGETHER_MS);
  const watchIfAble = (): void => {
    try {
      watcher ??= watch(options.confDir, { persistent: false }, soon);
      watcher.on("error", drop);
    } catch {
      // It does not exist yet, which install() reports; it is looked for again anyway.
      watcher = undefined;
    }
  };
  const drop = (): void => {
    watcher?.close();
    watcher = undefined;
  };
  const look = (): void => {
    watchIfAble();
    try {
      const { changed, problems: found } = install(options);
      if (changed.length > 0) {
        const now = performance.now();
        times = now - writtenAt < QUARREL_MS + pauseOf(times) ? times + 1 : 1;
        writtenAt = now;
        file = changed.at(-1) ?? file;
        env.onWritten(changed);
      }
      tell([...found, ...quarrelOf()]);
    } catch (thrown) {
      tell([{ severity: "error", reason: messageOf(thrown), effect: "weir-cni is not chained" }]);
    }
    lookIn(LOOK_EVERY_MS);
  };
  const quarrelOf = (): readonly Problem[] => {
    if (times < QUARREL_TOLD || performance.now() - writtenAt > QUARREL_MS) return [];
    const reason = "another program keeps taking weir-cni away";
    return [{ severity: "warning", file, reason, effect: "it is put back, at longer and longer intervals" }];
  };
  look();
  return {
    problems: () => problems,
    close() {
      closed = true;
      clearTimeout(timer);
      drop();
    },
  };
}

// Keeps the plugin in the node's CNI configuration, from when the agent answers requests for pods.

export interface Keeper {
  /** Starts; later calls have no effect. */
  start(log: Log, onProblems: () => void): void;
  problems(): readonly Problem[];
  close(): void;
}

/** Does nothing without options. */
export function openKeeper(options: InstallOptions | undefined): Keeper {
  let follower: Follower | undefined;
  return {
    start(log, onProblems) {
      if (options === undefined) return;
      follower ??= reconcileConflist(options, {
        onWritten: (files) => log.info("weir-cni is put into its place", { files: files.join(", ") }),
        onProblems,
      });
    },
    problems: () => follower?.problems() ?? [],
    close: () => follower?.close(),
  };
}
