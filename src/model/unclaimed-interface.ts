// The placeholder pod of an unclaimed interface, so that it is compiled, shown and reported like any other.

import { cidrOf } from "../base/ip.ts";
import type { Pod } from "./cluster.ts";

/** No namespace can be called so. */
const NAMESPACE = "(unknown)";

/** Its addresses are not known either: it may answer the node from any. */
export const unknownPod = (interfaceName: string): Pod => ({
  namespace: NAMESPACE,
  name: interfaceName,
  labels: new Map(),
  ips: [],
  hostNetwork: false,
  finished: false,
  ports: [],
  sources: [cidrOf(4, 0n, 0), cidrOf(6, 0n, 0)],
});

/** Everything is denied to and from it. */
export const isUnknown = (pod: Pod): boolean => pod.namespace === NAMESPACE;
