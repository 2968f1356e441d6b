// What this node knows first-hand of the network around its pods: where packets end that are for nodes, and what is on a bridge's link.

import type { Cidr } from "../base/ip.ts";

export interface Surroundings {
  /** What is for this node itself, and addresses of other nodes that its routes name. */
  readonly nodeAddresses: readonly Cidr[];
  /** Prefixes on the link of each bridge, by interface index. */
  readonly onLink: ReadonlyMap<number, readonly Cidr[]>;
  /** UDP ports of this node's tunnels; those of the others are the same, since one network plugin has made them. */
  readonly tunnelPorts: readonly number[];
}

export const NO_SURROUNDINGS: Surroundings = { nodeAddresses: [], onLink: new Map(), tunnelPorts: [] };
