// Keeps the plugin in the node's CNI configuration, from when pods that ask for the agent are answered.

import type { Log } from "../../base/log.ts";
import { type Follower, reconcileConflist } from "../../cni/conflist-reconciler.ts";
import type { InstallOptions } from "../../cni/plugin-install.ts";
import type { Problem } from "../../model/problem.ts";

export interface Keeper {
  /** Begins; calls after the first change nothing. */
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
