// The two ends of a question as people write them: a pod's or a Service's name, or an address, which may be theirs.

import { parseAddress } from "../../base/ip.ts";
import { nearestWord } from "../../base/nearest-word.ts";
import type { Cluster } from "../../model/cluster.ts";
import type { Party } from "../oracle.ts";
import { partyAt, partyOf } from "../service-oracle.ts";

/** One end: the same pod by each of its addresses, or one address. */
export interface End {
  /** As people know it: `namespace/name`, or the address. */
  readonly name: string;
  readonly parties: readonly Party[];
  /** `namespace/name` of the Service whose address it is. */
  readonly service?: string;
}

export type Found<T> =
  | { readonly ok: true; readonly value: T }
  /** `missing`: it is well written, and nothing is called so. */
  | { readonly ok: false; readonly reason: string; readonly missing: boolean };

/**
 * What `namespace/name` of a pod or Service, or an address, means in a cluster. Where a pod and a Service share a name it is
 * the pod; `service/namespace/name` is the Service in any case.
 */
export function endOf(cluster: Cluster, text: string): Found<End> {
  if (!text.includes("/")) return endAt(cluster, text);
  const [, named] = /^service\/(.+\/.+)$/.exec(text) ?? [];
  const pod = cluster.pods.get(text);
  if (pod === undefined || named !== undefined) return serviceCalled(cluster, named ?? text);
  if (pod.ips.length === 0) return { ok: false, reason: `pod ${text} has no address yet`, missing: false };
  return {
    ok: true,
    value: { name: text, parties: pod.ips.map((address) => partyOf(cluster, pod, address)) },
  };
}

function serviceCalled(cluster: Cluster, name: string): Found<End> {
  const service = cluster.services.get(name);
  if (service === undefined) {
    const nearest = nearestWord(name, [...cluster.pods.keys(), ...cluster.services.keys()]);
    const hint = nearest === undefined ? "none is known" : `the most similar name is ${nearest}`;
    return { ok: false, reason: `no pod or Service ${name}; ${hint}`, missing: true };
  }
  const addresses = service.clusterIps.length > 0 ? service.clusterIps : service.externalIps;
  if (addresses.length === 0) {
    const reason = `Service ${name} has no address of its own: clients talk to what DNS says, so ask for that`;
    return { ok: false, reason, missing: false };
  }
  const parties = addresses.map((address): Party => ({ kind: "address", address }));
  return { ok: true, value: { name, parties, service: name } };
}

function endAt(cluster: Cluster, text: string): Found<End> {
  const parsed = parseAddress(text);
  if (!parsed.ok) {
    const reason = `${JSON.stringify(text)} is neither NAMESPACE/NAME nor an address: ${parsed.reason}`;
    return { ok: false, reason, missing: false };
  }
  const address = parsed.value;
  const service = serviceAt(cluster, address.text);
  const end: End = { name: address.text, parties: [partyAt(cluster, address)] };
  return { ok: true, value: service === undefined ? end : { ...end, service } };
}

/** The first Service in key order that has the address. */
const serviceAt = (cluster: Cluster, address: string): string | undefined =>
  [...cluster.services]
    .filter(([, { clusterIps, externalIps }]) =>
      [...clusterIps, ...externalIps].some(({ text }) => text === address),
    )
    .map(([key]) => key)
    .sort()[0];
