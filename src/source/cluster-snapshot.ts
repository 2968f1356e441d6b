// A source's snapshot of the cluster: the same from manifests on disk and from the API server.

import type { Cluster } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";

export interface ClusterSnapshot {
  readonly cluster: Cluster;
  readonly problems: readonly Problem[];
  /** False while the source as a whole could never be read: its content is unknown, which is not the same as empty. */
  readonly readable: boolean;
}
