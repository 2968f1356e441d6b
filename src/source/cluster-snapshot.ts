// What a source says of the cluster at one moment: the same from manifests on disk and from the API server.

import type { Cluster } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";

export interface ClusterSnapshot {
  readonly cluster: Cluster;
  readonly problems: readonly Problem[];
  /** False while the source as a whole could never be read: what it says is not known, which is not the same as nothing. */
  readonly readable: boolean;
}
