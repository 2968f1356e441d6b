// The addresses that Services have had in any snapshot, also in one that no reconciliation has taken: kube-proxy may have led connections to a
// backend meanwhile.

import { changesBetween } from "../base/versioned-map.ts";
import type { Cluster } from "../model/cluster.ts";
import { hashesOfService } from "../model/service.ts";

export interface ServiceAddresses {
  /** Takes note of a snapshot's Services, in the time of what has changed since the last one. */
  note(services: Cluster["services"]): void;
  /** Passes on the hashes (addressHash()) of those that were not passed on yet. If that fails, the next call passes them on again. */
  pass<T>(to: (hashes: Iterable<number>) => Promise<T>): Promise<T>;
}

export function openServiceAddresses(): ServiceAddresses {
  let last: Cluster["services"] = new Map();
  /** Of each Service that has changed. */
  let waiting: readonly Iterable<number>[] = [];
  return {
    note(services) {
      const changed = [...changesBetween(last, services)].flatMap(({ after }) => after ?? []);
      waiting = [...waiting, ...changed.map(hashesOfService)];
      last = services;
    },
    async pass(to) {
      const passed = waiting;
      const result = await to(eachOf(passed));
      waiting = waiting.slice(passed.length);
      return result;
    },
  };
}

/** One by one: of all Services together they are many. */
function* eachOf(lists: readonly Iterable<number>[]): Generator<number> {
  for (const hashes of lists) yield* hashes;
}
