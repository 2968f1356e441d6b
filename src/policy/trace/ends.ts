// The two ends of a question as people write them: a pod's name, or an address, which may be a pod's.

import { parseAddress } from "../../base/ip.ts";
import { nearestWord } from "../../base/words.ts";
import type { Cluster } from "../../model/cluster.ts";
import type { Party } from "../evaluate.ts";
import { podsByAddress } from "../peers.ts";

/** One end: the same pod by each of its addresses, or one address. */
export interface End {
  /** As people know it: `namespace/name`, or the address. */
  readonly name: string;
  readonly parties: readonly Party[];
}

export type Found<T> =
  | { readonly ok: true; readonly value: T }
  /** `missing`: it is well written, and nothing is called so. */
  | { readonly ok: false; readonly reason: string; readonly missing: boolean };

/** What `namespace/pod` or an address means in a cluster. */
export function endOf(cluster: Cluster, text: string): Found<End> {
  if (!text.includes("/")) return endAt(cluster, text);
  const pod = cluster.pods.get(text);
  if (pod === undefined) {
    const nearest = nearestWord(text, [...cluster.pods.keys()]);
    const hint = nearest === undefined ? "no pod is known" : `the most similar name is ${nearest}`;
    return { ok: false, reason: `no pod ${text}; ${hint}`, missing: true };
  }
  if (pod.ips.length === 0) return { ok: false, reason: `pod ${text} has no address yet`, missing: false };
  return {
    ok: true,
    value: { name: text, parties: pod.ips.map((address) => ({ kind: "pod", pod, address })) },
  };
}

function endAt(cluster: Cluster, text: string): Found<End> {
  const parsed = parseAddress(text);
  if (!parsed.ok) {
    const reason = `${JSON.stringify(text)} is neither NAMESPACE/POD nor an address: ${parsed.reason}`;
    return { ok: false, reason, missing: false };
  }
  const address = parsed.value;
  const pod = podsByAddress(cluster).get(address.text)?.pod;
  const party: Party = pod === undefined ? { kind: "address", address } : { kind: "pod", pod, address };
  return { ok: true, value: { name: address.text, parties: [party] } };
}
