// What is wrong with pods' addresses: found by looking at all pods together, so no parser can see it.

import type { Family } from "../base/ip.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { OWN_ADDRESSES_MAX } from "../state/state.ts";

/** Problems of addresses that two pods claim, and of endpoints with more addresses than the spoof guard knows. */
export function addressProblems(cluster: Cluster, endpoints: readonly Pod[]): Problem[] {
  return [...claimedTwice(cluster), ...endpoints.flatMap(tooMany)];
}

function claimedTwice(cluster: Cluster): Problem[] {
  const owners = new Map<string, string>();
  const pods = [...cluster.pods.values()].filter(isSelectable).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return pods.flatMap((pod) =>
    pod.ips.flatMap(({ text }): Problem[] => {
      const owner = owners.get(text);
      if (owner === undefined) owners.set(text, keyOf(pod));
      if (owner === undefined || owner === keyOf(pod)) return [];
      const reason = `address ${text} is that of pod ${owner} too`;
      return [
        {
          severity: "warning",
          object: `Pod ${keyOf(pod)}`,
          reason,
          effect: `as a peer it counts as ${owner}`,
        },
      ];
    }),
  );
}

function tooMany(pod: Pod): Problem[] {
  return ([4, 6] as const satisfies readonly Family[]).flatMap((family): Problem[] => {
    const own = pod.ips.filter((address) => address.family === family);
    if (own.length <= OWN_ADDRESSES_MAX) return [];
    const reason = `it has ${own.length} IPv${family} addresses, at most ${OWN_ADDRESSES_MAX} are supported`;
    const rest = own.slice(OWN_ADDRESSES_MAX).map(({ text }) => text);
    const effect = `what it sends from ${rest.join(", ")} is dropped as spoofed`;
    return [{ severity: "error", object: `Pod ${keyOf(pod)}`, reason, effect }];
  });
}
