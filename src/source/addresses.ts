// Which addresses a pod has: one answer from all that says something of it, in whatever order that came.

import type { Address } from "../base/ip.ts";

/** What is known of a pod's addresses. */
export interface AddressSources {
  /** Of each of its live sandboxes, as the CNI plugin has told. */
  readonly claims?: readonly (readonly Address[])[];
  /** status.podIPs of its object: empty where there is no object, or where it has not been told, or has been taken back. */
  readonly status?: readonly Address[];
  /** Those that it had before, where one of its interfaces is still there. */
  readonly last?: readonly Address[];
  /** Addresses that the node routes, one by one, to a further interface of it, and that no other pod is said to have. */
  readonly routed?: readonly Address[];
}

/**
 * The plugin's word counts more than the status, which after a new sandbox still has the old address; the status more than
 * what was known before. Of two live sandboxes both have theirs. What is seen inside a pod's namespace never counts: gVisor
 * and KubeVirt take the address away there, and a pod may add others.
 */
export function addressesOf({ claims = [], status = [], last = [], routed = [] }: AddressSources): Address[] {
  const claimed = claims.flat();
  const own = claimed.length > 0 ? claimed : status.length > 0 ? status : last;
  return [...new Map([...own, ...routed].map((address) => [address.text, address])).values()];
}
