/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The policy's verdict on a new flow: peer address -> identity (a hash or an LPM trie), identity -> row, (protocol, port) ->
 * class, and the bit of the class in the row. The cost does not depend on the number of policies, rules and ports.
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include "layout.h"
#include "maps.h"
#include "packet.h"
#include "percpu_cache.h"
#include "counters.h"
#include "service.h"

/* The bits beside a policy's number. */
#define POLICY_MARKS (POLICY_AUDIT | POLICY_NAMES)

/* The index of a destination port on the port line. Protocols without ports share the last index. */
static __always_inline __u32 place_of(__u8 protocol, __be16 port)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return bpf_ntohs(port);
	case IPPROTO_UDP:
		return 65536 + bpf_ntohs(port);
	case IPPROTO_SCTP:
		return 131072 + bpf_ntohs(port);
	default:
		return PORT_LINE_OTHER;
	}
}

/* Of an address whose 32-bit words have this exclusive or, for Bloom filters. addressHash() in src/base/address-filter.ts is the same. */
static __always_inline __u32 filter_hash(__be32 words)
{
	return bpf_ntohl(words) * 0x9e3779b1U;
}

/* Its bit in a filter of 2^bits ones. */
static __always_inline __u32 filter_bit(__be32 words, __u32 bits)
{
	return filter_hash(words) >> (32 - bits);
}

/*
 * Whether there may be an address in addresses_v4, addresses_v6 or closed_filter whose 32-bit words have this exclusive or: 8 KiB that stay
 * in the cache avoid a futile look-up for unknown peers, which come in floods. src/datapath/bloom-filter.ts sets the bits.
 */
static __always_inline bool may_have_address(__be32 words)
{
	__u32 place = filter_bit(words, ADDRESS_FILTER_BITS), index = place / 64;
	struct bits *bits = bpf_map_lookup_elem(&address_filter, &index);

	return !bits || bits->word >> (place % 64) & 1;
}

static __always_inline bool has_closed_bit(__u32 hash)
{
	__u32 place = hash >> (32 - CLOSED_FILTER_BITS), index = place / (64 * CLOSED_FILTER_WORDS);
	struct closed_filter *filter = bpf_map_lookup_elem(&closed_filter, &index);

	return !filter || filter->words[place / 64 & (CLOSED_FILTER_WORDS - 1)] >> (place % 64) & 1;
}

/* Whether the address is one of a Service whose ports are not known, or of the few others that have its bits. See closedBitsOf() in src/base/address-filter.ts. */
static __always_inline bool is_closed(__be32 words)
{
	__u32 hash = filter_hash(words);

	return has_closed_bit(hash) && has_closed_bit(hash * 0x85ebca6bU);
}

/*
 * Whether an address is in a block that has prefixes longer than CIDR_INDEX_BITS, so that only the trie has the longest one. For all
 * other addresses, nearly all if they are random, an array has the answer: a trie of 100,000 prefixes costs a cache miss on each of
 * 17 levels. src/datapath/cidr-index.ts writes both arrays.
 */
static __always_inline bool has_long_prefix(__u32 address)
{
	__u32 index = address >> 20;
	struct cidr_filter *filter = bpf_map_lookup_elem(&cidr_filter_v4, &index);

	return !filter || filter->words[address >> 14 & (CIDR_FILTER_WORDS - 1)] >> (address >> 8 & 63) & 1;
}

static __always_inline struct identity *find_prefix_v4(__be32 address)
{
	struct cidr_v4_key prefix = { .length = 32, .address = address };
	__u32 index = bpf_ntohl(address) >> (32 - CIDR_INDEX_BITS);

	if (has_long_prefix(bpf_ntohl(address)))
		return bpf_map_lookup_elem(&cidrs_v4, &prefix);
	return bpf_map_lookup_elem(&cidr_index_v4, &index);
}

/* Of an address by itself or, if no entry has the bit of its hash, by prefixes; else IDENTITY_ABSENT. A global function, as the others, because of the stack space of its keys. */
__noinline __u32 find_listed_v4(__be32 address, __u32 version)
{
	struct address_v4_key exact = { .address = address };
	struct identity *identity;

	if (may_have_address(address)) {
		identity = bpf_map_lookup_elem(&addresses_v4, &exact);
		return identity ? identity->number[version & 1] : IDENTITY_ABSENT;
	}
	identity = find_prefix_v4(address);
	return identity ? identity->number[version & 1] : 0;
}

__noinline __u32 find_listed_v6(__be64 high, __be64 low, __u32 version)
{
	struct cidr_v6_key prefix = { .length = 128 };
	struct address_v6_key *exact = (void *)prefix.address;
	__u64 mixed = high ^ low;
	struct identity *identity;

	__builtin_memcpy(&prefix.address[0], &high, sizeof(high));
	__builtin_memcpy(&prefix.address[2], &low, sizeof(low));
	if (may_have_address((__u32)(mixed ^ mixed >> 32))) {
		identity = bpf_map_lookup_elem(&addresses_v6, exact);
		return identity ? identity->number[version & 1] : IDENTITY_ABSENT;
	}
	identity = bpf_map_lookup_elem(&cidrs_v6, &prefix);
	return identity ? identity->number[version & 1] : 0;
}

#define CLOSED_V4 1u /* 0.0.0.1: no host's */

/* Of an address that has no entry of its own: by the filter of what is closed, whose identity CLOSED_V4 or :: has, or by prefixes. */
__noinline __u32 find_unlisted_v4(__be32 address, __u32 version)
{
	struct address_v4_key closed = { .address = bpf_htonl(CLOSED_V4) };
	struct identity *identity = NULL;

	if (is_closed(address))
		identity = bpf_map_lookup_elem(&addresses_v4, &closed);
	if (!identity || identity->number[version & 1] == IDENTITY_ABSENT)
		identity = find_prefix_v4(address);
	return identity ? identity->number[version & 1] : 0;
}

__noinline __u32 find_unlisted_v6(__be64 high, __be64 low, __u32 version)
{
	struct cidr_v6_key prefix = {};
	__u64 mixed = high ^ low;
	struct identity *identity = NULL;

	if (is_closed((__u32)(mixed ^ mixed >> 32)))
		identity = bpf_map_lookup_elem(&addresses_v6, (struct address_v6_key *)prefix.address);
	if (!identity || identity->number[version & 1] == IDENTITY_ABSENT) {
		prefix.length = 128;
		__builtin_memcpy(&prefix.address[0], &high, sizeof(high));
		__builtin_memcpy(&prefix.address[2], &low, sizeof(low));
		identity = bpf_map_lookup_elem(&cidrs_v6, &prefix);
	}
	return identity ? identity->number[version & 1] : 0;
}

/* The identity of an address, from the maps. Without the barrier the compiler makes two paths of what follows, and the verifier follows each. */
static __always_inline __u32 find_identity_v4(__be32 address, __u32 version)
{
	__u32 identity = find_listed_v4(address, version);

	if (identity == IDENTITY_ABSENT)
		identity = find_unlisted_v4(address, version);
	asm volatile("" : "+r"(identity));
	return identity;
}

static __always_inline __u32 find_identity_v6(__be64 high, __be64 low, __u32 version)
{
	__u32 identity = find_listed_v6(high, low, version);

	if (identity == IDENTITY_ABSENT)
		identity = find_unlisted_v6(high, low, version);
	asm volatile("" : "+r"(identity));
	return identity;
}

/*
 * The same, through the per-CPU cache: the entry of the address, with its identity. An entry is valid for as long as the generation
 * in which it was found: whatever is written to values that it reads, a later generation follows.
 */
static __always_inline struct cached_peer_v4 *peer_v4(const struct context *context, __be32 address)
{
	__u32 place = place_among(address, PEER_CACHE_BITS);
	struct cached_peer_v4 *cached = bpf_map_lookup_elem(&peer_cache_v4, &place);

	if (cached && (cached->generation != context->generation || cached->address != address)) {
		cached->identity = find_identity_v4(address, context->version);
		cached->generation = context->generation;
		cached->address = address;
		cached->judged = 0;
	}
	return cached;
}

static __always_inline struct cached_peer_v6 *peer_v6(const struct context *context, const struct address_v6 *address)
{
	__u32 place = place_among(address->high ^ address->low, PEER_CACHE_BITS);
	struct cached_peer_v6 *cached = bpf_map_lookup_elem(&peer_cache_v6, &place);

	if (cached && (cached->generation != context->generation || cached->address.low != address->low ||
		       cached->address.high != address->high)) {
		cached->identity = find_identity_v6(address->high, address->low, context->version);
		cached->generation = context->generation;
		cached->address = *address;
		cached->judged = 0;
	}
	return cached;
}

static __always_inline const struct address_v6 *remote_of(const struct context *context, const struct packet *packet)
{
	return context->direction == DIRECTION_EGRESS ? &packet->destination : &packet->source;
}

/* What the CPU's cache has of the packet's other end: its identity, and where its `judged` is. False if the cache has no such place, which cannot be. */
static __always_inline bool find_peer(const struct context *context, const struct packet *packet, __u32 *identity,
				      __u32 **judged)
{
	const struct address_v6 *remote = remote_of(context, packet);
	struct cached_peer_v4 *v4;
	struct cached_peer_v6 *v6;

	if (is_v6(packet)) {
		v6 = peer_v6(context, remote);
		if (!v6)
			return false;
		*identity = v6->identity;
		*judged = &v6->judged;
		return true;
	}
	v4 = peer_v4(context, (__be32)remote->low);
	if (!v4)
		return false;
	*identity = v4->identity;
	*judged = &v4->judged;
	return true;
}

static __always_inline bool row_holds(__u32 version, __u32 number, const __u32 *place, bool *incomplete)
{
	struct port_class *class = bpf_map_lookup_elem(&ports, place);
	struct row *row = bpf_map_lookup_elem(&rows, &number);
	__u32 bit;

	if (!class || !row) {
		*incomplete = true;
		return false;
	}
	bit = class->number[version & 1];
	return row->bits[(bit / 64) & (ROW_WORDS - 1)] >> (bit % 64) & 1;
}

/*
 * The identities of the policy for the packet's direction, if that allows everything to all for whom it has no row: the direction is
 * free, but for single peers, as with rules of cluster policies on a pod that nothing isolates.
 */
static __always_inline void *free_by_default(const struct context *context)
{
	__u32 number = context->policy[context->direction & 1] & ~POLICY_MARKS;
	void *identities = bpf_map_lookup_elem(&policy, &number);
	__u32 others = 0, *row;

	if (!identities)
		return 0;
	row = bpf_map_lookup_elem(identities, &others);
	return row && *row == ROW_ALL ? identities : 0;
}

/*
 * Whether the policy for the packet's direction denies single peers, and nothing to this one: as with rules of cluster policies on a
 * pod that nothing isolates. Then what cannot be assigned to a flow passes, as it would without a policy.
 */
static __always_inline bool is_spared(const struct context *context, const struct packet *packet)
{
	void *identities = free_by_default(context);
	__u32 identity, *judged, *row;

	if (!identities || !find_peer(context, packet, &identity, &judged))
		return false;
	/* Which backends a Service's ports have is not known here. */
	if (identity & IDENTITY_FRONTEND)
		return false;
	row = bpf_map_lookup_elem(identities, &identity);
	return !row || *row == ROW_NOTHING || *row == ROW_ALL;
}

/* What the policy with this number allows this identity, at this place of the port line. */
static __always_inline enum reason judge_identity(const __u32 *number, const __u32 *identity, const __u32 *place,
						  __u32 version)
{
	void *identities = bpf_map_lookup_elem(&policy, number);
	bool incomplete = false;
	__u32 others = 0, *row;

	if (!identities)
		return REASON_INCOMPLETE;
	row = bpf_map_lookup_elem(identities, identity);
	if (*identity && (!row || *row == ROW_NOTHING))
		row = bpf_map_lookup_elem(identities, &others);
	if (!row)
		return REASON_INCOMPLETE;
	if (*row == ROW_NOTHING)
		return REASON_DENIED;
	if (*row == ROW_ALL || row_holds(version, *row, place, &incomplete))
		return REASON_POLICY;
	return incomplete ? REASON_INCOMPLETE : REASON_DENIED;
}

/* The identity by which a peer is judged: if the pod opens a flow to an address that Services have, that of the port's backends. */
static __always_inline __u32 identity_judged(const struct context *context, const struct packet *packet,
					     enum direction opener, __u32 identity, __u32 place)
{
	__u32 service = IDENTITY_ABSENT;

	if (!(identity & IDENTITY_FRONTEND))
		return identity;
	if (opener == DIRECTION_EGRESS)
		service = find_service(context, remote_of(context, packet), is_v6(packet), place);
	return service == IDENTITY_ABSENT ? identity & ~IDENTITY_FRONTEND : service;
}

/* The place of a flow's destination port, by one of its packets. */
static __always_inline __u32 place_of_flow(const struct context *context, const struct packet *packet,
					   enum direction opener)
{
	return place_of(packet->protocol,
			opener == context->direction ? packet->destination_port : packet->source_port);
}

/*
 * The verdict of the policy with this number on a packet of a flow that was opened in this direction. Whatever it depends on is in the cached entry, in
 * what the entry is valid for, or in the question.
 */
static __always_inline enum reason judge_by(const struct context *context, const struct packet *packet,
					    enum direction opener, __u32 number)
{
	__u32 place = place_of_flow(context, packet, opener), identity, *judged;
	__u32 question = number << JUDGED_POLICY_AT | (opener & 1) << JUDGED_OPENER_AT | place << JUDGED_PLACE_AT;
	enum reason reason;

	/* Number 0 as well: policies begin at 1, and a `judged` of 0 holds no answer. */
	if (number - 1 >= POLICIES_MAX - 1 || !find_peer(context, packet, &identity, &judged))
		return REASON_INCOMPLETE;
	if ((*judged | 1) == (question | 1))
		return *judged & 1 ? REASON_POLICY : REASON_DENIED;
	identity = identity_judged(context, packet, opener, identity, place);
	reason = judge_identity(&number, &identity, &place, context->version);
	if (reason != REASON_INCOMPLETE)
		*judged = question | (reason == REASON_POLICY);
	return reason;
}

/*
 * Judges a packet's flow by the endpoint's policy for the direction in which the flow was opened, without what names allow. The reason
 * passes or drops: see enum reason.
 */
static __always_inline enum reason judge(const struct context *context, const struct packet *packet,
					 enum direction opener)
{
	__u32 number = context->policy[opener & 1];
	enum reason reason;

	if (!number)
		return REASON_NOT_ISOLATED;
	reason = judge_by(context, packet, opener, number & ~POLICY_MARKS);
	return reason >= REASON_DROPS && number & POLICY_AUDIT ? REASON_AUDIT : reason;
}

#endif
