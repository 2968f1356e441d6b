// Manifests on disk: a directory of Kubernetes YAML, or one file, read into a cluster.

import { assemble, type ManifestsReading, unreadable } from "./manifests/assemble.ts";
import { lookAtAll } from "./manifests/look.ts";
import { firstMemory, readingsIn } from "./manifests/memory.ts";
import { NOT_READ_YET } from "./manifests/watch.ts";

export type { ManifestsReading } from "./manifests/assemble.ts";
export { type WatchOptions, watchManifests } from "./manifests/watch.ts";

/**
 * Reads the manifests at a path: a directory (not its subdirectories) or one file. Never throws: whatever cannot be read
 * is a Problem, and what it says of policies fails closed (see parse.ts and manifests/assemble.ts).
 */
export async function readManifests(path: string): Promise<ManifestsReading> {
  const look = await lookAtAll(path, new Map());
  if (!look.ok) return unreadable([{ ...look.problem, effect: NOT_READ_YET }]);
  return assemble(readingsIn(firstMemory(look.seen)));
}
