// Claims laid over a cluster: what this node knows first-hand of its pods, before and above what the source says of them.

import { type Cluster, isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import type { Claim } from "./claim.ts";

export interface Laid {
  readonly cluster: Cluster;
  /** Claims that their pods go by now. */
  readonly counts: ReadonlySet<Claim>;
  /** Why each of the others does not count. */
  readonly waits: ReadonlyMap<Claim, string>;
}

type Pods = Cluster["pods"];

/** Keeps what it made of unchanged pods, so that who compares by identity sees them unchanged. */
export function claimLayer(): (cluster: Cluster, claims: Iterable<Claim>) => Laid {
  const made = new WeakMap<Pod, readonly [Claim, Pod]>();
  const podWith = (pod: Pod, claim: Claim): Pod => {
    const before = made.get(pod);
    if (before?.[0] === claim) return before[1];
    const attachment = { kind: "claim", ifindex: claim.ifindex, name: claim.link } as const;
    // Of a pod whose sandbox has been made anew, the status still has the address of the one before.
    const laid: Pod = { ...pod, attachment, ips: claim.addresses };
    made.set(pod, [claim, laid]);
    return laid;
  };
  let last: { readonly all: Pods; readonly claimed: Pods; readonly pods: Pods } | undefined;
  const mergedOnce = (all: Pods, claimed: Pods): Pods => {
    if (last === undefined || last.all !== all || !sameEntries(last.claimed, claimed))
      last = { all, claimed, pods: merged(all, claimed) };
    return last.pods;
  };
  return (cluster, claims) => {
    const counts = new Set<Claim>();
    const waits = new Map<Claim, string>();
    const pods = new Map<string, Pod>();
    // The newest last: a sandbox that is made anew is claimed before the one before is given up.
    for (const claim of [...claims].reverse()) {
      const key = keyOf(claim);
      const pod = cluster.pods.get(key);
      const reason = pods.has(key) ? "the pod has a later sandbox" : reasonAgainst(pod, claim);
      if (pod === undefined || reason !== undefined) {
        waits.set(claim, reason ?? "");
        continue;
      }
      counts.add(claim);
      pods.set(key, podWith(pod, claim));
    }
    if (counts.size === 0) return { cluster, counts, waits };
    return { cluster: { ...cluster, pods: mergedOnce(cluster.pods, pods) }, counts, waits };
  };
}

const sameEntries = (a: Pods, b: Pods): boolean =>
  a.size === b.size && [...a].every(([key, pod]) => b.get(key) === pod);

function reasonAgainst(pod: Pod | undefined, claim: Claim): string | undefined {
  const name = `pod ${keyOf(claim)}`;
  if (pod === undefined) return `${name} is not known yet`;
  if (pod.uid !== undefined && claim.uid !== undefined && pod.uid !== claim.uid)
    return `${name} is known with another uid (${pod.uid}, not ${claim.uid})`;
  if (isSelectable(pod)) return undefined;
  return `${name} ${pod.hostNetwork ? "is on the node's own network" : "has finished"}`;
}

/** An address has been given to the pod that claims it: whoever is said to have had it does so no more. */
function merged(all: Pods, claimed: Pods): Pods {
  const owners = new Map<string, string>();
  for (const [key, { ips }] of claimed)
    for (const { text } of ips) if (!owners.has(text)) owners.set(text, key);
  const pods = new Map(all);
  for (const [key, pod] of all) {
    const laid = claimed.get(key) ?? pod;
    const isElsewhere = ({ text }: { readonly text: string }): boolean =>
      owners.has(text) && owners.get(text) !== key;
    const given = isSelectable(laid) && laid.ips.some(isElsewhere);
    if (given) pods.set(key, { ...laid, ips: laid.ips.filter((address) => !isElsewhere(address)) });
    else if (laid !== pod) pods.set(key, laid);
  }
  return pods;
}
