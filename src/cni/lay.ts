// Which claims go by the pods that the source knows: the runtime's word on an interface counts for the pod that it names.

import { type Cluster, keyOf, type Pod } from "../model/cluster.ts";
import type { Claim } from "./cni-claims.ts";

export interface Matched {
  /** The cluster as the source gives it. */
  readonly cluster: Cluster;
  /** Claims of known pods. Of two live sandboxes of one pod both count. */
  readonly counts: ReadonlySet<Claim>;
  /** Why each of the others does not count yet. Its interface is known to be no other pod's. */
  readonly waits: ReadonlyMap<Claim, string>;
}

export function matchClaims(cluster: Cluster, claims: Iterable<Claim>): Matched {
  const counts = new Set<Claim>();
  const waits = new Map<Claim, string>();
  for (const claim of claims) {
    const reason = reasonAgainst(cluster.pods.get(keyOf(claim)), claim);
    if (reason === undefined) counts.add(claim);
    else waits.set(claim, reason);
  }
  return { cluster, counts, waits };
}

function reasonAgainst(pod: Pod | undefined, claim: Claim): string | undefined {
  const name = `pod ${keyOf(claim)}`;
  if (pod === undefined) return `${name} is not known yet`;
  if (pod.uid !== undefined && claim.uid !== undefined && pod.uid !== claim.uid)
    return `${name} is known with another uid (${pod.uid}, not ${claim.uid})`;
  return pod.hostNetwork ? `${name} is on the node's own network` : undefined;
}

/** An interface as its claim has it; of a pod by its key, where that is known. */
export const claimedInterfaces = ({ counts, waits }: Matched) =>
  [...counts, ...waits.keys()].map((claim) => {
    const { ifindex, link, birth, addresses, hardware } = claim;
    return {
      ifindex,
      name: link,
      ...(birth === undefined ? {} : { birth }),
      ...(hardware === undefined ? {} : { hardware }),
      pod: counts.has(claim) ? keyOf(claim) : undefined,
      addresses,
    };
  });
