// Which of several objects with one address had it first, as far as this agent has seen it come.

import { type Cluster, isSelectable, keyOf, type Ownership } from "../model/cluster.ts";

export interface Appearances {
  /** Takes in a snapshot's pods, in the order in which snapshots come. Of the first one all is equally old. */
  see(pods: Cluster["pods"]): Ownership["appeared"];
}

/** Keeps something of those addresses only that several objects have. */
export function openAppearances(): Appearances {
  let before: Cluster["pods"] | undefined;
  let count = 0;
  let known: Ownership["appeared"] = new Map();
  return {
    see(pods) {
      if (pods === before) return known;
      count += 1;
      const next = new Map<string, Map<string, number>>();
      for (const [text, keys] of sharedIn(pods)) {
        const since = new Map<string, number>();
        for (const key of keys) {
          const had = before?.get(key)?.ips.some((address) => address.text === text) === true;
          const first = known.get(text)?.get(key);
          since.set(key, had ? (first ?? 0) : before === undefined ? 0 : count);
        }
        next.set(text, since);
      }
      before = pods;
      known = next;
      return known;
    },
  };
}

/** Addresses that several pods have, with the keys of these. */
function sharedIn(pods: Cluster["pods"]): Map<string, readonly string[]> {
  const one = new Map<string, string>();
  const shared = new Map<string, string[]>();
  for (const pod of pods.values()) {
    if (!isSelectable(pod)) continue;
    for (const { text } of pod.ips) {
      const first = one.get(text);
      if (first === undefined) one.set(text, keyOf(pod));
      else {
        const keys = shared.get(text) ?? [first];
        keys.push(keyOf(pod));
        shared.set(text, keys);
      }
    }
  }
  return shared;
}
