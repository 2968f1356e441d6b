// A source's snapshot of the cluster, the same from manifests on disk and from the API server; and the health of a source
// that is watched over the network.

import type { Cluster } from "./cluster.ts";
import type { Problem } from "./problem.ts";

export interface ClusterSnapshot {
  readonly cluster: Cluster;
  readonly problems: readonly Problem[];
  /** False while the source as a whole could never be read: its content is unknown, which is not the same as empty. */
  readonly readable: boolean;
}

/** For status, metrics and readiness. */
export interface SourceHealth {
  /** URL of the server. */
  readonly server: string;
  /** Every kind has been listed once, so that the snapshot is complete. */
  readonly synced: boolean;
  readonly kinds: readonly KindHealth[];
}

export interface KindHealth {
  readonly kind: string;
  readonly objects: number;
  /**
   * listing: not known yet. following: changes come as they happen. waiting: for a retry. absent: the server does not have the
   * kind, and is asked for it again.
   */
  readonly state: "listing" | "following" | "waiting" | "absent";
  /** ISO 8601: when the server last sent something of this kind, and when it was last listed as a whole. */
  readonly contactAt?: string;
  readonly listedAt?: string;
  /** Why it is not followed at the moment, and since when. */
  readonly failure?: { readonly reason: string; readonly since: string };
  /** How many were begun, by the reason. */
  readonly lists: Readonly<Record<string, number>>;
  readonly watches: Readonly<Record<string, number>>;
  /** Changes that a list had and no event brought, although the watch had passed their versions. */
  readonly differences: number;
  /** Bytes of lists and watches so far. */
  readonly bytes: number;
}
