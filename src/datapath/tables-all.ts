// Every map of the datapath as its typed table.

import type { BpfMap } from "bpf-ts";
import {
  type KeyOf,
  type MapName,
  type NestedTableFor,
  nestedTableOf,
  type PolicyTable,
  type Table,
  type TableName,
  tableOf,
  type ValueOf,
} from "./tables.ts";

type TableFor<N extends TableName> = Table<KeyOf<N>, ValueOf<N>>;

export interface Tables {
  readonly node: TableFor<"node">;
  readonly endpoints: TableFor<"endpoints">;
  readonly sourcesV4: TableFor<"sources_v4">;
  readonly sourcesV6: TableFor<"sources_v6">;
  readonly addressesV4: TableFor<"addresses_v4">;
  readonly addressesV6: TableFor<"addresses_v6">;
  readonly servicesV4: TableFor<"services_v4">;
  readonly servicesV6: TableFor<"services_v6">;
  readonly knownAddresses: TableFor<"known_addresses">;
  readonly cidrsV4: TableFor<"cidrs_v4">;
  readonly cidrsV6: TableFor<"cidrs_v6">;
  readonly policy: PolicyTable;
  readonly ports: TableFor<"ports">;
  readonly rows: TableFor<"rows">;
  readonly conntrackV4: TableFor<"conntrack_v4">;
  readonly conntrackV6: TableFor<"conntrack_v6">;
  readonly fragments: TableFor<"fragments">;
  readonly counters: TableFor<"counters">;
  readonly uplink: TableFor<"uplink">;
  readonly deniedV4: NestedTableFor<"denied_v4">;
  readonly deniedV6: NestedTableFor<"denied_v6">;
  readonly deniedCounts: TableFor<"denied_counts">;
  readonly uplinkCounters: TableFor<"uplink_counters">;
  readonly eventBuckets: TableFor<"event_buckets">;
}

/** Typed tables over maps that remain the caller's to close. */
export function openTables(map: (name: MapName) => BpfMap): Tables {
  return {
    node: tableOf("node", map("node")),
    endpoints: tableOf("endpoints", map("endpoints")),
    sourcesV4: tableOf("sources_v4", map("sources_v4")),
    sourcesV6: tableOf("sources_v6", map("sources_v6")),
    addressesV4: tableOf("addresses_v4", map("addresses_v4")),
    addressesV6: tableOf("addresses_v6", map("addresses_v6")),
    servicesV4: tableOf("services_v4", map("services_v4")),
    servicesV6: tableOf("services_v6", map("services_v6")),
    knownAddresses: tableOf("known_addresses", map("known_addresses")),
    cidrsV4: tableOf("cidrs_v4", map("cidrs_v4")),
    cidrsV6: tableOf("cidrs_v6", map("cidrs_v6")),
    policy: nestedTableOf("policy", map("policy")),
    ports: tableOf("ports", map("ports")),
    rows: tableOf("rows", map("rows")),
    conntrackV4: tableOf("conntrack_v4", map("conntrack_v4")),
    conntrackV6: tableOf("conntrack_v6", map("conntrack_v6")),
    fragments: tableOf("fragments", map("fragments")),
    counters: tableOf("counters", map("counters")),
    uplink: tableOf("uplink", map("uplink")),
    deniedV4: nestedTableOf("denied_v4", map("denied_v4")),
    deniedV6: nestedTableOf("denied_v6", map("denied_v6")),
    deniedCounts: tableOf("denied_counts", map("denied_counts")),
    uplinkCounters: tableOf("uplink_counters", map("uplink_counters")),
    eventBuckets: tableOf("event_buckets", map("event_buckets")),
  };
}
