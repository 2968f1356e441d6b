/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Per-CPU caches of recent look-ups: small tables with one slot for each key; the last one wins.
 * The caches never change a verdict: an entry is valid only while a new look-up would find the same.
 */
#ifndef WEIR_PERCPU_CACHE_H
#define WEIR_PERCPU_CACHE_H

#include "conntrack.h"
#include "layout.h"
#include "maps.h"

#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL

/* A slot among 2^bits: keys that differ in few bits are spread over the upper ones. */
static __always_inline __u32 place_among(__u64 value, __u32 bits)
{
	return value * GOLDEN_RATIO >> (64 - bits);
}

static __always_inline struct cached_flow_v4 *cached_flow_v4(const __u64 *word)
{
	__u32 place = place_among(word[0] ^ word[1] * GOLDEN_RATIO, FLOW_CACHE_BITS);

	return bpf_map_lookup_elem(&flow_cache_v4, &place);
}

static __always_inline struct cached_flow_v6 *cached_flow_v6(const __u64 *word)
{
	__u64 sum = word[0] ^ word[1] ^ word[2] ^ word[3] ^ word[4] * GOLDEN_RATIO;
	__u32 place = place_among(sum, FLOW_CACHE_BITS);

	return bpf_map_lookup_elem(&flow_cache_v6, &place);
}

/* What the cache says about a packet's flow in this tick: more than its exemption, which has the same field. Order matters: see is_kind(). */
enum cached_kind {
	CACHED_TRACKED = 0, /* this CPU has refreshed the entry: it holds everything that a steady packet would write */
	CACHED_JUDGED =
		1,        /* no entry is needed: policy allows what comes to the pod, and the other direction is free */
	CACHED_REPLY = 2, /* of packets from the pod only: the other side's packets may still change the entry */
	CACHED_FREE = 3,  /* of packets from the pod only: without an entry, in a direction that is free */
	CACHED_NOT = 4,
};

_Static_assert(CACHED_JUDGED & 1 && CACHED_FREE & 1 && !(CACHED_REPLY & 1),
	       "odd kinds have no entry: see reason_of_kind()");
_Static_assert((int)CACHED_NOT < FLOW_NODE && (int)CACHED_NOT < FLOW_OWN, "kinds and exemptions have one field");

/* Whether what is cached holds for the packet's direction. */
static __always_inline bool is_kind(const struct context *context, __u32 kind)
{
	if (exempt(context))
		return kind == exempt(context);
	return kind <= (context->direction == DIRECTION_EGRESS ? CACHED_FREE : CACHED_JUDGED);
}

/* What this CPU has found out about the packet's flow in this tick, and under this generation; CACHED_NOT if nothing. */
static __always_inline __u32 cached_kind(const struct context *context, const struct packet *packet)
{
	__u32 kind;

	if (is_v6(packet)) {
		/* The program's stack has no space for IPv6's key. */
		struct flow_scratch *memory = flow_scratch_of_cpu();
		const struct cached_flow_v6 *cached;
		const __u64 *word;

		if (!memory)
			return CACHED_NOT;
		word = memory->target.word;
		flow_key_of(&memory->target, context, packet, context->direction);
		cached = cached_flow_v6(word);
		if (!cached)
			return CACHED_NOT;
		kind = cached->exempt;
		if (cached->word[0] == word[0] && cached->word[1] == word[1] && cached->word[2] == word[2] &&
		    cached->word[3] == word[3] && cached->word[4] == word[4] &&
		    cached->generation == context->generation && is_kind(context, kind) && cached->tick == now())
			return kind;
	} else {
		const struct cached_flow_v4 *cached;
		struct flow_target key;

		flow_key_of(&key, context, packet, context->direction);
		cached = cached_flow_v4(key.word);
		if (!cached)
			return CACHED_NOT;
		kind = cached->exempt;
		if (cached->word[0] == key.word[0] && cached->word[1] == key.word[1] &&
		    cached->generation == context->generation && is_kind(context, kind) && cached->tick == now())
			return kind;
	}
	return CACHED_NOT;
}

/* Records a kind, or the packet's exemption, for this tick; a tick of 0 removes the record. */
static __always_inline void cache_flow_as(const struct context *context, const struct packet *packet, __u64 tick,
					  __u32 kind)
{
	if (is_v6(packet)) {
		struct flow_scratch *memory = flow_scratch_of_cpu();
		struct cached_flow_v6 *cached;

		if (!memory)
			return;
		flow_key_of(&memory->target, context, packet, context->direction);
		cached = cached_flow_v6(memory->target.word);
		if (!cached)
			return;
		__builtin_memcpy(cached->word, memory->target.word, sizeof(cached->word));
		cached->tick = tick;
		cached->generation = context->generation;
		cached->exempt = kind;
	} else {
		struct cached_flow_v4 *cached;
		struct flow_target key;

		flow_key_of(&key, context, packet, context->direction);
		cached = cached_flow_v4(key.word);
		if (!cached)
			return;
		cached->word[0] = key.word[0];
		cached->word[1] = key.word[1];
		cached->tick = tick;
		cached->generation = context->generation;
		cached->exempt = kind;
	}
}

/* The flow's entry is as a steady packet of this tick would leave it. */
static __always_inline void cache_flow(const struct context *context, const struct packet *packet, __u64 tick)
{
	cache_flow_as(context, packet, tick, exempt(context));
}

#endif
