// The addresses that Services have had in any snapshot, also in one that no reconciliation has taken: kube-proxy may have led connections to a
// backend meanwhile.

import type { Address } from "../base/ip.ts";
import { changesBetween } from "../base/versioned-map.ts";
import type { Cluster } from "../model/cluster.ts";
import type { Service } from "../model/service.ts";

export interface ServiceAddresses {
  /** Takes note of a snapshot's Services, in the time of what has changed since the last one. */
  note(services: Cluster["services"]): void;
  /** Passes on those that were not passed on yet. If that fails, the next call passes them on again. */
  pass<T>(to: (addresses: readonly Address[]) => Promise<T>): Promise<T>;
}

const addressesOf = ({ clusterIps, externalIps, loadBalancerIps }: Service): readonly Address[] => [
  ...clusterIps,
  ...externalIps,
  ...loadBalancerIps,
];

export function openServiceAddresses(): ServiceAddresses {
  let last: Cluster["services"] = new Map();
  const waiting = new Map<string, Address>();
  return {
    note(services) {
      for (const { after } of changesBetween(last, services))
        for (const address of after === undefined ? [] : addressesOf(after))
          waiting.set(address.text, address);
      last = services;
    },
    async pass(to) {
      const addresses = [...waiting.values()];
      const result = await to(addresses);
      for (const { text } of addresses) waiting.delete(text);
      return result;
    },
  };
}
