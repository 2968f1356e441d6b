// Where the cluster is read from: one interface, so that the agent's loop knows no source by name.

import { readManifests, watchManifests } from "./manifests.ts";
import type { Reading } from "./reading.ts";

/** Manifests are a directory or one file of Kubernetes YAML. */
export type SourceOptions = { readonly kind: "manifests"; readonly path: string };

export interface Source {
  /** What it is read from, for `weir status`. */
  readonly text: string;
  /** Reads it once. Never throws for what it says or where it cannot be read: that is a Problem. */
  read(signal: AbortSignal): Promise<Reading>;
  /**
   * Gives the first reading and every one that differs from the one before; resolves when the signal aborts. A reading
   * without problems that is `readable` is all that the source says.
   */
  watch(onReading: (reading: Reading) => void, signal: AbortSignal): Promise<void>;
}

export function openSource(options: SourceOptions): Source {
  const { path } = options;
  return {
    text: path,
    read: () => readManifests(path),
    watch: (onReading, signal) => watchManifests(path, { signal, onChange: onReading }),
  };
}
