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
#include "counters.h"

#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL

/* A slot among 2^bits: keys that differ in few bits are spread over the upper ones. */
static __always_inline __u32 place_among(__u64 value, __u32 bits)
{
	return value * GOLDEN_RATIO >> (64 - bits);
}

/* The words of a key, to mix and compare. */
struct words_v4 {
	__u64 word[2];
};

struct words_v6 {
	__u64 word[5];
};

static __always_inline struct cached_flow_v4 *cached_flow_v4(const struct flow_v4_key *key)
{
	const struct words_v4 *words = (const void *)key;
	__u32 place = place_among(words->word[0] ^ words->word[1] * GOLDEN_RATIO, FLOW_CACHE_BITS);

	return bpf_map_lookup_elem(&flow_cache_v4, &place);
}

static __always_inline struct cached_flow_v6 *cached_flow_v6(const struct flow_v6_key *key)
{
	const struct words_v6 *words = (const void *)key;
	__u64 addresses = words->word[0] ^ words->word[1] ^ words->word[2] ^ words->word[3];
	__u32 place = place_among(addresses ^ words->word[4] * GOLDEN_RATIO, FLOW_CACHE_BITS);

	return bpf_map_lookup_elem(&flow_cache_v6, &place);
}

/*
 * Whether this CPU has refreshed the flow of this key in this tick, and under this generation. Then the flow's entry already
 * holds everything that a steady packet would write into it.
 */
static __always_inline bool is_cached(const struct context *context, const struct packet *packet,
				      const struct flow_key *key)
{
	if (is_v6(packet)) {
		const struct cached_flow_v6 *cached = cached_flow_v6(&key->v6);
		const struct words_v6 *held = (const void *)cached, *words = (const void *)&key->v6;

		return cached && held->word[0] == words->word[0] && held->word[1] == words->word[1] &&
		       held->word[2] == words->word[2] && held->word[3] == words->word[3] &&
		       held->word[4] == words->word[4] && cached->generation == context->generation &&
		       cached->tick == now();
	} else {
		const struct cached_flow_v4 *cached = cached_flow_v4(&key->v4);
		const struct words_v4 *held = (const void *)cached, *words = (const void *)&key->v4;

		return cached && held->word[0] == words->word[0] && held->word[1] == words->word[1] &&
		       cached->generation == context->generation && cached->tick == now();
	}
}

/* Records that the flow's entry is as a steady packet of this tick would leave it; a tick of 0 removes the record. */
static __always_inline void cache_flow(const struct context *context, const struct packet *packet,
				       const struct flow_key *key, __u64 tick)
{
	if (is_v6(packet)) {
		struct cached_flow_v6 *cached = cached_flow_v6(&key->v6);

		if (!cached)
			return;
		cached->key = key->v6;
		cached->tick = tick;
		cached->generation = context->generation;
	} else {
		struct cached_flow_v4 *cached = cached_flow_v4(&key->v4);

		if (!cached)
			return;
		cached->key = key->v4;
		cached->tick = tick;
		cached->generation = context->generation;
	}
}

#endif
