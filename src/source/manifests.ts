// Manifests on disk: a directory of Kubernetes YAML, or one file, read into a cluster.

import { readOnce } from "./manifests/watch.ts";

export type { ManifestsReading } from "./manifests/assemble.ts";
export type { OpenForWriting } from "./manifests/files.ts";
export { type WatchOptions, watchManifests } from "./manifests/watch.ts";

/**
 * Reads the manifests at a path: a directory (not its subdirectories) or one file. Never throws: whatever cannot be read
 * is a Problem, and what it says of policies fails closed (see parse.ts and manifests/assemble.ts).
 */
export const readManifests = readOnce;
