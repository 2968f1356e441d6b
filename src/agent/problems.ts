// What no parser can see: pods' addresses that do not go together, and interfaces that refuse what was asked for.

import type { Attached } from "../datapath/attach.ts";
import { type Cluster, isSelectable, keyOf } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import type { PodInterface } from "../source/interfaces.ts";

/** Problems of addresses that two pods claim. */
export function addressProblems(cluster: Cluster): Problem[] {
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

/** Problems of interfaces that take no XDP program where one was wanted. */
export function refusalProblems(
  found: readonly PodInterface[],
  attached: ReadonlyMap<number, Attached>,
): Problem[] {
  return found.flatMap(({ pod, ifindex, name }): Problem[] => {
    const { egress, refused } = attached.get(ifindex) ?? {};
    if (refused === undefined) return [];
    const reason = `interface ${name} takes no XDP program: ${refused}`;
    const effect = `what it sends is filtered by ${egress} instead`;
    return [{ severity: "warning", object: `Pod ${keyOf(pod)}`, reason, effect }];
  });
}
