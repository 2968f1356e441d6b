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

/* Whether a packet from the pod has a source that is not the pod's own. */
static __always_inline bool spoofed(const struct context *context, const struct packet *packet)
{
	if (!guarded(context))
		return false;
	return is_v6(packet) ? !owns_v6(context, &packet->source) : !owns_v4(context, (__be32)packet->source.low);
}

/* ff00::/8 in network order. */
static __always_inline bool is_multicast(const struct address_v6 *address)
{
	return (address->high & bpf_cpu_to_be64(0xff00000000000000ULL)) == bpf_cpu_to_be64(0xff00000000000000ULL);
}

/* Never leaves its link, whatever it carries: fe80::/10, or ff02::/16 in network order. */
static __always_inline bool is_link_scoped(const struct address_v6 *address)
{
	return is_link_local(address) ||
	       (address->high & bpf_cpu_to_be64(0xffff000000000000ULL)) == bpf_cpu_to_be64(0xff02000000000000ULL);
}

/*
 * Whether a pod's message of neighbour discovery passes as such, whatever its policy. A pod is no router, so it does not
 * advertise or redirect. And what goes to a single address may be forwarded, to anywhere: it is no more than a
 * solicitation of that address or an answer, with one option for the link-layer address (RFC 4861 4.3, 4.4).
 */
static __always_inline bool is_neighbour_of_pod(const struct packet *packet, const struct cursor *cursor)
{
	const struct address_v6 *target = cursor->at + ND_TARGET;

	if (packet->icmp_type == ND_ROUTER_ADVERT || packet->icmp_type == ND_REDIRECT)
		return false;
	if (is_link_scoped(&packet->destination))
		return true;
	if (packet->icmp_type == ND_ROUTER_SOLICIT || packet->payload > ND_BYTES_MAX ||
	    !ensure(cursor, ND_TARGET + sizeof(*target)))
		return false;
	return packet->icmp_type == ND_NEIGHBOUR_ADVERT || equal_addresses(target, &packet->destination);
}

/*
 * Multicast listener discovery, which neighbour discovery needs over bridges that forward to listeners only. It stays on its
 * link: RFC 3810 5. Before it has an address, a host reports without one (RFC 3590).
 */
static __always_inline bool is_listener_discovery(const struct packet *packet)
{
	__u8 type = packet->icmp_type;

	if (!is_v6(packet) || packet->protocol != IPPROTO_ICMPV6 || packet->fragment || packet->hop_limit != 1)
		return false;
	if ((type < MLD_QUERY || type > MLD_DONE) && type != MLD_REPORT_V2)
		return false;
	return (is_link_local(&packet->source) || is_unspecified(&packet->source)) &&
	       is_multicast(&packet->destination);
}

static __always_inline bool is_neighbour(const struct context *context, const struct packet *packet,
					 const struct cursor *cursor)
{
	/* Only a router queries, which a pod is not. */
	if (is_listener_discovery(packet))
		return context->direction == DIRECTION_INGRESS || packet->icmp_type != MLD_QUERY;
	return is_neighbour_discovery(packet) &&
	       (context->direction == DIRECTION_INGRESS || is_neighbour_of_pod(packet, cursor));
}

/* Whether it comes from, or tells of, an address that is not the pod's own. The cursor is at the ICMP header. */
static __always_inline bool spoofed_neighbour(const struct context *context, const struct packet *packet,
					      const struct cursor *cursor)
{
	const struct address_v6 *target = cursor->at + ND_TARGET;
	bool tells = packet->icmp_type == ND_NEIGHBOUR_ADVERT;

	if (!guarded(context))
		return false;
	/* Who asks whether its address is free has none yet (RFC 4861 4.1, 4.3). */
	if (!tells && is_unspecified(&packet->source))
		return false;
	if (spoofed(context, packet))
		return true;
	return tells && !(ensure(cursor, ND_TARGET + sizeof(*target)) && owns_v6(context, target));
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
