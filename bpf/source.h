/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a packet comes from: the addresses that a pod may speak from, and what this node itself generated.
 */
#ifndef WEIR_SOURCE_H
#define WEIR_SOURCE_H

#include "packet.h"
#include "report.h"
#include "transport.h"

/* fe80::/10 in network order: never a pod's address as policy sees it, but IPv6 itself speaks from it. */
static __always_inline bool is_link_local(const struct address_v6 *address)
{
	return (address->high & bpf_cpu_to_be64(0xffc0000000000000ULL)) == bpf_cpu_to_be64(0xfe80000000000000ULL);
}

static __always_inline bool equal_addresses(const struct address_v6 *a, const struct address_v6 *b)
{
	return a->low == b->low && a->high == b->high;
}

static __always_inline bool is_unspecified(const struct address_v6 *address)
{
	return !address->high && !address->low;
}

/* Whether addresses are checked: of packets from a pod, unless none is known for it. */
static __always_inline bool guarded(const struct context *context)
{
	return context->direction == DIRECTION_EGRESS &&
	       (context->endpoint->addresses_v4_used || context->endpoint->addresses_v6_used);
}

/* Whether the endpoint of an interface may send from an address besides those that stand in its entry. */
__noinline int is_source_v4(__u32 ifindex, __u32 version, __be32 address)
{
	struct source_v4_key key = { .length = 64, .ifindex = ifindex, .address = address };
	struct source *source = bpf_map_lookup_elem(&sources_v4, &key);

	return source && source->allowed[version & 1];
}

__noinline int is_source_v6(__u32 ifindex, __u32 version, __be64 high, __be64 low)
{
	struct source_v6_key key = { .length = 160, .ifindex = ifindex };
	struct source *source;

	__builtin_memcpy(&key.address[0], &high, sizeof(high));
	__builtin_memcpy(&key.address[2], &low, sizeof(low));
	source = bpf_map_lookup_elem(&sources_v6, &key);
	return source && source->allowed[version & 1];
}

static __always_inline bool owns_v4(const struct context *context, __be32 address)
{
	const struct endpoint *endpoint = context->endpoint;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < ENDPOINT_ADDRESSES; i++)
		if (i < endpoint->addresses_v4_used && endpoint->addresses_v4[i] == address)
			return true;
	return endpoint->more_sources && is_source_v4(endpoint->ifindex, context->version, address);
}

static __always_inline bool owns_v6(const struct context *context, const struct address_v6 *address)
{
	const struct endpoint *endpoint = context->endpoint;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < ENDPOINT_ADDRESSES; i++)
		if (i < endpoint->addresses_v6_used && equal_addresses(&endpoint->addresses_v6[i], address))
			return true;
	if (is_link_local(address))
		return true;
	return endpoint->more_sources && is_source_v6(endpoint->ifindex, context->version, address->high, address->low);
}

#define DHCP_SERVER 67
#define DHCP_CLIENT 68

/* The first packets of a host that has no address yet, to all of its link (RFC 2131 4.1). */
static __always_inline bool is_dhcp_request(const struct packet *packet)
{
	return !packet->source.low && (__be32)packet->destination.low == bpf_htonl(0xffffffff) &&
	       packet->protocol == IPPROTO_UDP && !packet->fragment && packet->source_port == bpf_htons(DHCP_CLIENT) &&
	       packet->destination_port == bpf_htons(DHCP_SERVER);
}

/* Whether a packet from the pod has a source that is not the pod's own. */
static __always_inline bool spoofed(const struct context *context, const struct packet *packet)
{
	if (!guarded(context))
		return false;
	if (is_v6(packet))
		return !owns_v6(context, &packet->source);
	if (owns_v4(context, (__be32)packet->source.low))
		return false;
	return isolated(context, DIRECTION_EGRESS) || !is_dhcp_request(packet);
}

/*
 * Whether this node itself generated the packet: it has not come in by an interface. Where the kernel fragments IPv6 anew
 * that it has reassembled to forward it, new fragments lose the interface (ip6_frag_next, seen on 6.18); those of this
 * node's own packets still have the socket. `whole` where the packet is known to be no fragment.
 */
static __always_inline bool generated_here(const struct context *context, const struct packet *packet, bool whole)
{
	return context->local && (context->owned || !is_v6(packet) || whole);
}

#endif
