// What no parser can see: pods' addresses that do not go together, and interfaces that refuse programs.

import type { Log } from "../base/log.ts";
import type { Attached } from "../datapath/attach.ts";
import { type Cluster, isSelectable, keyOf } from "../model/cluster.ts";
import { type Problem, problemText } from "../model/problem.ts";
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

/** Problems of interfaces to which the programs cannot be attached, or from which they cannot be removed. */
export function attachProblems(
  found: readonly PodInterface[],
  failed: ReadonlyMap<number, string>,
): Problem[] {
  const pods = new Map(found.map((each) => [each.ifindex, each]));
  return [...failed].map(([ifindex, reason]): Problem => {
    const owner = pods.get(ifindex);
    return owner === undefined
      ? {
          severity: "error",
          object: `interface #${ifindex}`,
          reason: `the programs cannot be removed from it: ${reason}`,
          effect: "no pod owns it any more, and it is still filtered",
          topic: "interface",
        }
      : {
          severity: "error",
          object: `Pod ${keyOf(owner.pod)}`,
          reason: `the programs cannot be attached to interface ${owner.name}: ${reason}`,
          effect: "the pod is not enforced",
          topic: "interface",
        };
  });
}

/** Logs what is newly wrong and what is solved; what stays wrong is not repeated. */
export function logProblems(before: readonly Problem[], now: readonly Problem[], log: Log): void {
  const [known, present] = [before, now].map((problems) => new Set(problems.map(problemText)));
  for (const problem of now) {
    const text = problemText(problem);
    if (known?.has(text) === false) log[problem.severity === "error" ? "error" : "warn"](text);
  }
  for (const text of known ?? []) if (present?.has(text) === false) log.info(`solved: ${text}`);
}

/** Problems of interfaces that take no XDP program, with --from-pod-hook xdp. */
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
