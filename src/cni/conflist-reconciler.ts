// The conflist reconciler: keeps Weir's entry in the node's CNI configuration while others write it. A removed entry is
// restored at once, and with backoff if that is repeated.

import { messageOf } from "../base/errors.ts";
import { openFileWatcher } from "../base/file-watcher.ts";
import { type Backoff, backoffMs, pause } from "../base/scheduler.ts";
import type { Problem } from "../model/problem.ts";
import { type InstallOptions, install } from "./plugin-install.ts";

/** Without an event. */
const LOOK_EVERY_MS = 5_000;
/** Restoring the entry again this soon after the last time counts as a conflict with another writer. */
const CONFLICT_MS = 60_000;
/** From the second time in a row. */
const RESTORE_MS: Backoff = [1_000, 60_000];
/** So many conflicts in a row are reported. */
const CONFLICTS_REPORTED = 3;

export interface ConflistReconciler {
  problems(): readonly Problem[];
  close(): void;
}

export interface ConflistEnv {
  /** Files that were written, for the log. */
  readonly onWritten: (files: readonly string[]) => void;
  /** The problems have changed. */
  readonly onProblems: () => void;
}

/** The entry is in its place when this returns, if that is possible. */
export function reconcileConflist(options: InstallOptions, env: ConflistEnv): ConflistReconciler {
  const ended = new AbortController();
  const watcher = openFileWatcher(options.confDir, ended.signal);
  let problems: readonly Problem[] = [];
  /** How often it was restored, each time soon after the time before. */
  let times = 0;
  let writtenAt = Number.NEGATIVE_INFINITY;
  let file = options.confDir;
  const backoff = (): number => backoffMs(RESTORE_MS, times - 1);

  const conflictProblems = (): readonly Problem[] => {
    if (times < CONFLICTS_REPORTED || performance.now() - writtenAt > CONFLICT_MS) return [];
    const reason = "another program keeps removing weir-cni";
    return [{ severity: "warning", file, reason, effect: "it is restored with backoff" }];
  };
  const report = (next: readonly Problem[]): void => {
    const changed = JSON.stringify(next) !== JSON.stringify(problems);
    problems = next;
    if (changed) env.onProblems();
  };
  const look = (): void => {
    try {
      const { changed, problems: found } = install(options);
      if (changed.length > 0) {
        const now = performance.now();
        times = now - writtenAt < CONFLICT_MS + backoff() ? times + 1 : 1;
        writtenAt = now;
        file = changed.at(-1) ?? file;
        env.onWritten(changed);
      }
      report([...found, ...conflictProblems()]);
    } catch (thrown) {
      report([{ severity: "error", reason: messageOf(thrown), effect: "weir-cni is not chained" }]);
    }
  };
  async function run(): Promise<void> {
    while (!ended.signal.aborted) {
      // A directory that cannot be watched is polled.
      await watcher.follow();
      await pause(writtenAt + backoff() - performance.now(), ended.signal);
      if (ended.signal.aborted) return;
      look();
      await watcher.wait(LOOK_EVERY_MS);
    }
  }
  look();
  void run();
  return {
    problems: () => problems,
    close() {
      ended.abort();
      watcher.close();
    },
  };
}
