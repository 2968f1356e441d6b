// A cluster and where it is from.

import type { Cluster } from "../../model/cluster.ts";
import type { EndpointView } from "../../observe/api-views.ts";
import type { FieldPath } from "../../source/parse/parse-document.ts";

export interface Source {
  readonly cluster: Cluster;
  /** Other data of the agent, if it was queried. */
  readonly live: Live | undefined;
  /** `FILE:LINE` of a policy's element, where it was read from a file. Paths are from the policy's root. */
  readonly where: (policy: string, path: FieldPath) => string | undefined;
}

export interface Live {
  /** The generation that the cluster is in force as. */
  readonly generation: number;
  readonly endpoints: readonly EndpointView[];
}
