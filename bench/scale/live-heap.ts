// Loaded into the measured agent before its own code: on SIGUSR2 it collects all garbage, and writes what is left to a file.

import { renameSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread } from "node:worker_threads";

/** The environment variable with the file's path. */
const FILE = "WEIR_BENCH_LIVE_HEAP";

export interface LiveHeap {
  /** How many times it was requested. */
  readonly turn: number;
  /** Bytes: objects in V8's heap, their memory outside it, and resident memory. */
  readonly live: number;
  readonly external: number;
  readonly resident: number;
}

const path = process.env[FILE];
if (path !== undefined && isMainThread) {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let turn = 0;
  process.on("SIGUSR2", () => {
    turn += 1;
    // What finalizers release in one collection, the next one takes.
    collect();
    collect();
    const { heapUsed, external, rss } = process.memoryUsage();
    const answer: LiveHeap = { turn, live: heapUsed, external, resident: rss };
    writeFileSync(`${path}.new`, JSON.stringify(answer));
    renameSync(`${path}.new`, path);
  });
}
