// Where the cluster is read from: one interface, so that the agent's loop depends on no single source.

import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ClusterSnapshot, SourceHealth } from "../model/cluster-snapshot.ts";
import type { ApiServerOptions } from "./apiserver/apiserver-source.ts";
import { forgetKept } from "./manifests/last-known-good-copies.ts";
import { readManifests, watchManifests } from "./manifests/manifest-watch.ts";

export type SourceOptions =
  /** A directory or one file of Kubernetes YAML. */
  { readonly kind: "manifests"; readonly path: string } | ({ readonly kind: "apiserver" } & ApiServerOptions);

export interface SourceEnv {
  readonly log: Log;
  readonly now: () => Date;
  readonly version: string;
  /** Whether cluster policies that an earlier agent has read may be in force; assumed where it is absent. */
  readonly mayEnforceEarlier?: () => boolean;
  /** The directory in which the last good content of files outlives the agent. */
  readonly kept?: string;
}

export interface Source {
  /** What it is read from, for `weir status`. */
  readonly text: string;
  /** Reads it once. Never throws for its content or where it cannot be read: that is a Problem. */
  read(signal: AbortSignal): Promise<ClusterSnapshot>;
  /**
   * Gives the first snapshot and every one that differs from the one before; resolves when the signal aborts. A
   * snapshot without problems that is `readable` is the complete content of the source.
   */
  watch(onReading: (reading: ClusterSnapshot) => void, signal: AbortSignal): Promise<void>;
  /** The health of a source that is watched over the network. */
  health?(): SourceHealth;
}

/** Removes the copies of manifests as soon as another source gives the cluster: later they would be content of long ago. */
const forgettingKept = (source: Source, { kept, log }: SourceEnv): Source => ({
  ...source,
  watch(onReading, signal) {
    let isForgotten = kept === undefined;
    const forget = (): void => {
      isForgotten = true;
      forgetKept(kept ?? "").catch((error: unknown) =>
        log.warn("the last good content of manifests cannot be removed", { error: messageOf(error) }),
      );
    };
    return source.watch((reading) => {
      if (reading.readable && !isForgotten) forget();
      onReading(reading);
    }, signal);
  },
});

/** Errors: OperationError where the options name nothing that could be read. */
export async function openSource(options: SourceOptions, env: SourceEnv): Promise<Source> {
  if (options.kind === "apiserver") {
    // What it needs of the Kubernetes client takes memory, which manifests need not pay for.
    const { openApiServer } = await import("./apiserver/apiserver-source.ts");
    return forgettingKept(openApiServer(options, env), env);
  }
  const { path } = options;
  // The addon takes time to load, which commands that only read manifests need not spend.
  const { isOpenForWriting } = await import("../node/kernel-queries.ts");
  const how = { openForWriting: isOpenForWriting, ...(env.kept === undefined ? {} : { kept: env.kept }) };
  return {
    text: path,
    read: () => readManifests(path, how),
    watch: (onReading, signal) => watchManifests(path, { ...how, signal, onChange: onReading }),
  };
}
