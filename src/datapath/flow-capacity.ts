// How large the flow table is: from flows, as the option says, to buckets.

import { BUCKET_ENTRIES, FLOW_BUCKET_V4_SIZE, FLOW_BUCKET_V6_SIZE } from "../gen/layout.ts";

/** Flows of IPv4 that the table is sized for; of IPv6, half as many. */
export const FLOWS_DEFAULT = 262_144;
export const FLOWS_MIN = 8_192;
export const FLOWS_MAX = 4_194_304;

/** Buckets of each table. */
export interface FlowBuckets {
  readonly conntrack_v4: number;
  readonly conntrack_v6: number;
}

/** So many flows fill 40 % of the places: then hardly any finds both of its buckets full of live flows (docs/decisions/0028). */
export const bucketsFor = (flows: number): FlowBuckets => ({
  conntrack_v4: Math.ceil(flows / 2),
  conntrack_v6: Math.ceil(flows / 4),
});

const FRAGMENTS_MIN = 8_192;
/** The kernel's LRU hash keeps up to 128 free entries of each CPU from the others (kernel/bpf/bpf_lru_list.c). */
const FRAGMENTS_PER_CPU = 256;

/** Entries of the map of fragments: so many that each CPU's free entries leave half of them to packets. */
export const fragmentsFor = (cpus: number): number => Math.max(FRAGMENTS_MIN, cpus * FRAGMENTS_PER_CPU);

/** Flows that fit into so many buckets, live or expired. */
export const placesIn = (buckets: number): number => buckets * BUCKET_ENTRIES;

/** Of both tables. */
export const bytesOf = ({ conntrack_v4, conntrack_v6 }: FlowBuckets): number =>
  conntrack_v4 * FLOW_BUCKET_V4_SIZE + conntrack_v6 * FLOW_BUCKET_V6_SIZE;
