/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TODO(flow table): goes when the programs use the table of layout.h. */
#ifndef WEIR_OLD_FLOWS_H
#define WEIR_OLD_FLOWS_H
#include "layout.h"
#define FLOW_CACHE_BITS 9
struct old_flow {
	__u64 expires;         /* in ticks; 64 bits, so that an expired entry stays expired */
	__u32 generation;      /* under which the policy last allowed it */
	enum direction opener; /* DIRECTION_EGRESS: the pod opened it */
	enum flow_state state;
	__u16 reserved;
};

/* A flow whose entry this CPU has refreshed in this tick: no look-up is needed until the next tick. */
struct cached_flow_v4 {
	struct flow_v4_key key;
	__u64 tick;
	__u32 generation;
	__u32 reserved;
};

struct cached_flow_v6 {
	struct flow_v6_key key;
	__u64 tick;
	__u32 generation;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_v4_key);
	__type(value, struct old_flow);
} old_conntrack_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_v6_key);
	__type(value, struct old_flow);
} old_conntrack_v6 SEC(".maps");

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

#endif
