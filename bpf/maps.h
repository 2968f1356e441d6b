/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps. Only the control plane writes them, except conntrack, fragments and counters. Every max_entries is a
 * default that the loader may change; keyed tables have twice the capacity of a state (LIMITS in src/state/desired-state.ts),
 * since an update adds the new entries before it removes the old ones.
 */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

#ifndef BPF_F_INNER_MAP
#define BPF_F_INNER_MAP (1U << 12)
#endif

#define ENDPOINTS_MAX 1024u /* a quarter of ENDPOINTS_PLACES, so that every interface finds a free place */
#define POLICIES_MAX 4096u
#define EVENT_BUCKETS (ENDPOINTS_MAX * DIRECTIONS * REASONS)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node);
} node SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENDPOINTS_PLACES);
	__type(key, __u32);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

/* Prefixes by scope: see struct source_v4_key. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct source_v4_key);
	__type(value, struct source);
} sources_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct source_v6_key);
	__type(value, struct source);
} sources_v6 SEC(".maps");

/* Addresses of pods and Services, exact; looked up before the prefixes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct address_v4_key);
	__type(value, struct identity);
} addresses_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct address_v6_key);
	__type(value, struct identity);
} addresses_v6 SEC(".maps");

/* Frontends of Services; looked up only for addresses with IDENTITY_FRONTEND. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct service_v4_key);
	__type(value, struct identity);
} services_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct service_v6_key);
	__type(value, struct identity);
} services_v6 SEC(".maps");

/* Bloom filter: one bit for each hash of an address of either map above. If it is not set, the address is in neither. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (1 << ADDRESS_FILTER_BITS) / 64);
	__type(key, __u32);
	__type(value, struct bits);
} address_filter SEC(".maps");

/*
 * Bloom filter: one bit for each hash of an address that a Service has, or has had since the node's start. Bits are never cleared: see
 * backend.h.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (1 << FRONTEND_FILTER_BITS) / 64 / FRONTEND_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct frontend_filter);
} frontend_filter SEC(".maps");

/*
 * Bloom filter: two bits for each address of a Service whose ports are not known, so that all of them are refused. The maps of addresses have
 * no room for as many as tenants may write. An address with both bits that is in neither map has the identity of CLOSED_V4, or of ::, there.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (1 << CLOSED_FILTER_BITS) / 64 / CLOSED_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct closed_filter);
} closed_filter SEC(".maps");

/* Prefixes of IP blocks and of their exceptions. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct cidr_v4_key);
	__type(value, struct identity);
} cidrs_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct cidr_v6_key);
	__type(value, struct identity);
} cidrs_v6 SEC(".maps");

/*
 * What cidrs_v4 gives for each /16, by prefixes no longer than that, and which blocks of addresses have longer prefixes. See
 * find_prefix_v4().
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << CIDR_INDEX_BITS);
	__type(key, __u32);
	__type(value, struct identity);
} cidr_index_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (1 << CIDR_FILTER_BITS) / 64 / CIDR_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct cidr_filter);
} cidr_filter_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << PEER_CACHE_BITS);
	__type(key, __u32);
	__type(value, struct cached_peer_v4);
} peer_cache_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << PEER_CACHE_BITS);
	__type(key, __u32);
	__type(value, struct cached_peer_v6);
} peer_cache_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << FLOW_CACHE_BITS);
	__type(key, __u32);
	__type(value, struct cached_flow_v4);
} flow_cache_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << FLOW_CACHE_BITS);
	__type(key, __u32);
	__type(value, struct cached_flow_v6);
} flow_cache_v6 SEC(".maps");

/* Ports of pods at which a socket has been looked up lately, by a hash; formats in stateless.h. One word each, so that it is read whole. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SOCKET_CACHE_BITS);
	__type(key, __u32);
	__type(value, struct bits);
} pod_sockets SEC(".maps");

/* One policy: identity to row. Index 0 holds the row of all identities without a row of their own. */
struct policy_rows {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, POLICIES_MAX);
	__type(key, __u32);
	__array(values, struct policy_rows);
} policy SEC(".maps");

/* The domain names of rules: see struct domain_name_key. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct domain_name_key);
	__type(value, struct domain_name);
} domain_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct name_policy_key);
	__type(value, struct name_policy);
} name_policies SEC(".maps");

/* What pods have resolved. The programs write this map and the next two: see dns.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct named_address_key);
	__type(value, struct named_address);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 524288);
	__type(key, struct question_key);
	__type(value, struct question);
} questions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1048576);
	__type(key, struct name_ring_key);
	__type(value, struct name_ring_entry);
} name_rings SEC(".maps");

/* By endpoint id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct name_counters);
} name_counters SEC(".maps");

/* (protocol, port) to class; place_of in policy.h computes the index. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PORT_LINE_OTHER + 1);
	__type(key, __u32);
	__type(value, struct port_class);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct row);
} rows SEC(".maps");

/* The flow table of each family; max_entries is the number of buckets. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 131072);
	__type(key, __u32);
	__type(value, struct flow_bucket_v4);
} conntrack_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct flow_bucket_v6);
} conntrack_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_secret);
} flow_secret SEC(".maps");

/* By enum counted_family. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAMILIES);
	__type(key, __u32);
	__type(value, struct flow_statistics);
} flow_statistics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

/* Memory for what does not fit on the stack: programs run one at a time on a CPU. */
#define SCRATCH_PACKET 0 /* struct scratch_space in conntrack.h */
#define SCRATCH_FLOW 1   /* struct flow_scratch in flow_table.h */
#define SCRATCH_NAMES 2  /* struct name_scratch in names.h */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Its records are struct event: a map of this type cannot declare that. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* By (endpoint id * DIRECTIONS + direction) * REASONS + reason; the first two are for the whole node. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVENT_BUCKETS);
	__type(key, __u32);
	__type(value, struct event_bucket);
} event_buckets SEC(".maps");

/* By endpoint id: how many packets of REASON_NEIGHBOUR it has sent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct rate);
} neighbour_rates SEC(".maps");

/* By endpoint id; id 0 counts packets of no endpoint. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct uplink);
} uplink SEC(".maps");

/*
 * The two lists of denied prefixes of a family: one active, the other one free for the next list. The value of a prefix is its
 * index into denied_counts; prefixes without an index of their own share 0.
 */
struct denied_list_v4 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct cidr_v4_key);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, VERSIONS);
	__type(key, __u32);
	__array(values, struct denied_list_v4);
} denied_v4 SEC(".maps");

struct denied_list_v6 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct cidr_v6_key);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, VERSIONS);
	__type(key, __u32);
	__array(values, struct denied_list_v6);
} denied_v6 SEC(".maps");

/* What each CPU dropped for each denied prefix, by its number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct count);
} denied_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct uplink_counters);
} uplink_counters SEC(".maps");

#endif
