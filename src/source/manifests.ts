// Manifests on disk: a directory of Kubernetes YAML, or one file, read into a cluster.

import { readOnce } from "./manifests/manifest-watch.ts";

export type { ManifestsReading } from "./manifests/assemble-cluster.ts";
export type { OpenForWriting } from "./manifests/manifest-files.ts";
export { type WatchOptions, watchManifests } from "./manifests/manifest-watch.ts";

/**
 * Reads the manifests at a path: a directory (not its subdirectories) or one file. Never throws: whatever cannot be read
 * is a Problem, and what it says of policies fails closed (see src/source/parse/parse-document.ts and src/source/manifests/assemble-cluster.ts).
 */
export const readManifests = readOnce;
