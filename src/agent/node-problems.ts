// Problems that no parser can see: conflicting pod addresses, and interfaces that reject programs.

import type { Log } from "../base/log.ts";
import type { Attached } from "../datapath/hooks.ts";
import { claimantsOf, holdersOf, sharedAddresses } from "../model/address-ownership.ts";
import { type Cluster, keyOf, type Pod } from "../model/cluster.ts";
import { type Problem, problemText } from "../model/problem.ts";
import type { PodInterface } from "../source/interface-discovery.ts";

/** Problems of addresses that several pods have. */
export function addressProblems(cluster: Cluster): Problem[] {
  const several = [...(cluster.ownership?.held ?? [])].filter(([, { holders }]) => holders.length > 1);
  const claimed = several.filter(([text]) => claimantsOf(cluster.pods, text).length > 0);
  const texts = new Set([...sharedAddresses(cluster.pods).keys(), ...claimed.map(([text]) => text)]);
  const holders = holdersOf(cluster);
  return [...texts]
    .flatMap((text) => problemsOf(text, claimantsOf(cluster.pods, text), holders.get(text)?.pods ?? []))
    .sort((a, b) => (problemText(a) < problemText(b) ? -1 : 1));
}

function problemsOf(text: string, claimants: readonly Pod[], holders: readonly Pod[]): Problem[] {
  const names = holders.map((pod) => `${keyOf(pod)}${pod.retained === undefined ? "" : " (retained)"}`);
  const about = (pod: Pod, reason: string, effect: string): Problem => ({
    severity: "warning",
    object: `Pod ${keyOf(pod)}`,
    reason,
    effect,
  });
  if (holders.length > 1) {
    const reason = `address ${text} is that of pods ${names.join(" and ")}: its owner is ambiguous`;
    return holders.map((pod) => about(pod, reason, "as a peer it is allowed only what each of them is"));
  }
  return claimants
    .filter((pod) => !holders.includes(pod))
    .map((pod) =>
      about(pod, `address ${text} is that of pod ${names[0]} too`, `as a peer it is treated as ${names[0]}`),
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
          effect: "no pod owns it any more, but it is still filtered",
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

/** Logs new and resolved problems; a problem that persists is not repeated. */
export function logProblems(before: readonly Problem[], now: readonly Problem[], log: Log): void {
  const [known, present] = [before, now].map((problems) => new Set(problems.map(problemText)));
  for (const problem of now) {
    const text = problemText(problem);
    if (known?.has(text) === false) log[problem.severity === "error" ? "error" : "warn"](text);
  }
  for (const text of known ?? []) if (present?.has(text) === false) log.info(`solved: ${text}`);
}

/** Problems of interfaces that accept no XDP program, with --from-pod-hook xdp. */
export function refusalProblems(
  found: readonly PodInterface[],
  attached: ReadonlyMap<number, Attached>,
): Problem[] {
  return found.flatMap(({ pod, ifindex, name }): Problem[] => {
    const { egress, refused } = attached.get(ifindex) ?? {};
    if (refused === undefined) return [];
    const reason = `interface ${name} does not support XDP programs: ${refused}`;
    const effect = `packets from the pod are filtered by ${egress} instead`;
    return [{ severity: "warning", object: `Pod ${keyOf(pod)}`, reason, effect }];
  });
}
