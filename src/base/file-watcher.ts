// The file watcher: notices changes of a directory, or of a file in one, also after either was replaced by another
// of the same name.

import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf } from "./errors.ts";
import { openTrigger } from "./scheduler.ts";

export interface FileWatcher {
  /**
   * Watches the directory that now has the path's name; to be called before each look, so that nothing happens
   * unseen in between. Returns the error where that is not possible; a path that is absent is none.
   */
  follow(): Promise<unknown>;
  /**
   * Waits for the end of a burst of events, or for `ms`: events get lost, and there are none for what symbolic links
   * lead to, or on network file systems. Resolves at once on abort.
   */
  wait(ms: number): Promise<void>;
  /** Ends the wait like an event. */
  fire(): void;
  close(): void;
}

export function openFileWatcher(path: string, signal: AbortSignal): FileWatcher {
  const trigger = openTrigger(signal);
  let watcher: FSWatcher | undefined;
  let watched: string | undefined;
  const close = (): void => {
    watcher?.close();
    watcher = undefined;
    watched = undefined;
  };
  return {
    async follow() {
      try {
        const { directory, identity } = await directoryOf(path);
        if (identity === watched || signal.aborted) return undefined;
        close();
        watcher = watch(directory, trigger.fire);
        watched = identity;
        watcher.on("error", () => {
          close();
          trigger.fire();
        });
        return undefined;
      } catch (error) {
        close();
        return codeOf(error) === "ENOENT" ? undefined : error;
      }
    },
    wait: (ms) => trigger.waitForBurst(ms),
    fire: trigger.fire,
    close,
  };
}

/** The directory to watch: the path itself, or the parent of a file (or of what is not there yet). */
async function directoryOf(path: string): Promise<{ directory: string; identity: string }> {
  const own = await stat(path).catch(() => undefined);
  if (own?.isDirectory()) return { directory: path, identity: `${own.dev}:${own.ino}` };
  const directory = dirname(path);
  const parent = await stat(directory);
  return { directory, identity: `${parent.dev}:${parent.ino}` };
}
