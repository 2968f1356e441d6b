/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The source of a packet: the addresses from which a pod may send, and packets that this node itself generated.
 */
#ifndef WEIR_ANTI_SPOOFING_H
#define WEIR_ANTI_SPOOFING_H

#include "ethernet.h"
#include "packet.h"
#include "counters.h"
#include "transport.h"

#define BROADCAST_V4 0xffffffff
#define DHCP_SERVER 67
#define DHCP_CLIENT 68

/* ff00::/8 in network order. */
static __always_inline bool is_multicast(const struct address_v6 *address)
{
	return (address->high & bpf_cpu_to_be64(0xff00000000000000ULL)) == bpf_cpu_to_be64(0xff00000000000000ULL);
}

static __always_inline bool is_multicast_v4(__be32 address)
{
	return (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
}

/* fe80::/10 in network order: never a pod's address for policy, but the IPv6 protocol itself sends from it. */
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

/* Whether any address of the endpoint is known. */
static __always_inline bool has_address(const struct context *context)
{
	return context->endpoint->addresses_v4_used || context->endpoint->addresses_v6_used;
}

/* Whether addresses are checked: of packets from a pod, unless none is known for it. */
static __always_inline bool guarded(const struct context *context)
{
	return context->direction == DIRECTION_EGRESS && has_address(context);
}

/* Whether an address is in a scope: see struct source_v4_key. */
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

/* Whether a MAC address, in the upper 48 bits, is one of the endpoint's, or none of it is known. */
static __always_inline bool owns_hardware(const struct context *context, __be64 hardware)
{
	const struct endpoint *endpoint = context->endpoint;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < ENDPOINT_HARDWARE; i++)
		if (i < endpoint->hardware_used && endpoint->hardware[i] == hardware)
			return true;
	return !endpoint->hardware_used;
}

/* Six bytes of a packet, as in an endpoint's entry. */
static __always_inline __be64 hardware_at(const __u8 *bytes)
{
	return (__be64)(*(const __u32 *)bytes | (__u64) * (const __u16 *)(bytes + 4) << 32);
}

/*
 * Whether a link-local address is the one that the kernel derives from a MAC address of the endpoint (RFC 4291, appendix A), or is one of
 * its `sources`. The pod must not use any other: it could be the router's.
 */
static __always_inline bool owns_link_local(const struct context *context, const struct address_v6 *address)
{
	__u64 low = bpf_be64_to_cpu(address->low);
	__u64 hardware = (low ^ 0x0200000000000000ULL) >> 40 << 40 | (low & 0xffffff) << 16;

	if (!context->endpoint->hardware_used)
		return true;
	return address->high == bpf_cpu_to_be64(0xfe80000000000000ULL) && (low >> 24 & 0xffff) == 0xfffe &&
	       owns_hardware(context, bpf_cpu_to_be64(hardware));
}

/* Whether an address is the pod's own, whatever else it may send from. */
static __always_inline bool has_v4(const struct endpoint *endpoint, __be32 address)
{
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < ENDPOINT_ADDRESSES; i++)
		if (i < endpoint->addresses_v4_used && endpoint->addresses_v4[i] == address)
			return true;
	return false;
}

static __always_inline bool has_v6(const struct endpoint *endpoint, const struct address_v6 *address)
{
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < ENDPOINT_ADDRESSES; i++)
		if (i < endpoint->addresses_v6_used && equal_addresses(&endpoint->addresses_v6[i], address))
			return true;
	return false;
}

static __always_inline bool owns_v4(const struct context *context, __be32 address)
{
	const struct endpoint *endpoint = context->endpoint;

	return has_v4(endpoint, address) ||
	       (endpoint->more_sources && is_source_v4(endpoint->ifindex, context->version, address));
}

static __always_inline bool owns_v6(const struct context *context, const struct address_v6 *address)
{
	const struct endpoint *endpoint = context->endpoint;

	if (has_v6(endpoint, address) || (is_link_local(address) && owns_link_local(context, address)))
		return true;
	return endpoint->more_sources && is_source_v6(endpoint->ifindex, context->version, address->high, address->low);
}

/* DHCP broadcasts of a host that has no address yet (RFC 2131 4.1). */
static __always_inline bool is_dhcp_request(const struct packet *packet)
{
	return !packet->source.low && (__be32)packet->destination.low == bpf_htonl(BROADCAST_V4) &&
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

/* From the pod: whether a frame has the pod's own MAC address, where that is checked. */
static __always_inline bool has_own_hardware(hook_context *hook, const struct context *context)
{
	const struct ethhdr *ethernet = (void *)(long)hook->data;
	__be64 source;

	if ((void *)(ethernet + 1) > (void *)(long)hook->data_end)
		return true;
	/* The mask leaves out the frame's type. */
	source = ethernet_source(ethernet);
	if (!((source ^ context->endpoint->hardware[0]) & context->endpoint->hardware_mask))
		return true;
	return owns_hardware(context, source & context->endpoint->hardware_mask);
}

/* Whether a packet goes to a group, or to the whole link. A subnet's own broadcast address is not known as one. */
static __always_inline bool is_for_many(const struct packet *packet)
{
	__be32 v4 = (__be32)packet->destination.low;

	return is_v6(packet) ? is_multicast(&packet->destination)
			     : is_multicast_v4(v4) || v4 == bpf_htonl(BROADCAST_V4);
}

/*
 * On a bridge. To a pod: whether the frame is unicast and the packet's destination is not an address of the pod. Bridges flood frames with
 * an unknown destination, and a pod that has poisoned a bridge's table receives the traffic of others. From a pod with policies for egress: whether all on the
 * link get a frame whose packet is for one address. Policy judges that address, and not who gets it.
 */
static __always_inline bool misdirected(hook_context *hook, const struct context *context, const struct packet *packet)
{
	const struct ethhdr *ethernet = (void *)(long)hook->data;
	bool egress = context->direction == DIRECTION_EGRESS;

	if (!context->endpoint->bridge ||
	    (egress ? !isolated(context, DIRECTION_EGRESS) || audited(context, DIRECTION_EGRESS)
		    : !has_address(context)))
		return false;
	if ((void *)(ethernet + 1) > (void *)(long)hook->data_end || (ethernet->h_dest[0] & 1) != egress)
		return false;
	if (egress || is_for_many(packet))
		return !is_for_many(packet);
	if (is_v6(packet))
		return !owns_v6(context, &packet->destination);
	if (owns_v4(context, (__be32)packet->destination.low))
		return false;
	/* The DHCP reply to a host that has no address yet. */
	return isolated(context, DIRECTION_INGRESS) || packet->protocol != IPPROTO_UDP || packet->fragment ||
	       packet->source_port != bpf_htons(DHCP_SERVER) || packet->destination_port != bpf_htons(DHCP_CLIENT);
}

/*
 * Protocols that encapsulate packets: IPIP, IPv6, GRE, MOBILE (55), the old IPIP (94), EtherIP (97), ENCAP, L2TP (115), MPLS and Ethernet
 * (143). ESP and AH are not listed: a node decapsulates them only with a key that it shares with the sender.
 */
static __always_inline bool is_tunnel(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
	case IPPROTO_GRE:
	case 55:
	case 94:
	case 97:
	case IPPROTO_ENCAP:
	case 115:
	case IPPROTO_MPLS:
	case 143:
		return true;
	default:
		return false;
	}
}

/* Whether it may be a tunnel's packet: a check that costs other UDP packets as little as possible. */
static __always_inline bool may_be_tunnel(const struct context *context, const struct packet *packet)
{
	if (packet->protocol == IPPROTO_UDP)
		return context->node->tunnel_filter[context->version & 1] >>
			       (bpf_ntohs(packet->destination_port) & 63) &
		       1;
	return is_tunnel(packet->protocol);
}

/* Whether nodes decapsulate packets to this UDP port. */
__noinline int is_tunnel_port(__u32 version, __u32 port)
{
	__u32 zero = 0;
	const struct node *here = bpf_map_lookup_elem(&node, &zero);

	for (__u32 i = 0; here && i < TUNNEL_PORTS; i++)
		if (here->tunnel_ports[version & 1][i] == port)
			return port != 0;
	return false;
}

/*
 * From the pod: a tunnel to an address at which a node may decapsulate. The inner packet would come from the node, with any source.
 * Tunnels between pods are not restricted here.
 */
static __always_inline bool encapsulated(const struct context *context, const struct packet *packet)
{
	if (context->direction != DIRECTION_EGRESS || packet->protocol == IPPROTO_TCP ||
	    !may_be_tunnel(context, packet))
		return false;
	if (packet->protocol == IPPROTO_UDP &&
	    (is_later_fragment(packet) || !is_tunnel_port(context->version, bpf_ntohs(packet->destination_port))))
		return false;
	return is_v6(packet)
		       ? is_source_v6(NODE_SCOPE, context->version, packet->destination.high, packet->destination.low)
		       : is_source_v4(NODE_SCOPE, context->version, (__be32)packet->destination.low);
}

/*
 * Whether this node itself generated the packet: it has no ingress interface. If the kernel refragments a forwarded IPv6
 * packet that it had reassembled, the new fragments lose the interface (ip6_frag_next, seen on 6.18), also where one is
 * enough; fragments of this node's own packets still have the socket. `whole` if the packet is known to have no fragment header.
 */
static __always_inline bool generated_here(const struct context *context, const struct packet *packet, bool whole)
{
	return is_local(context) && (context->owned || !is_v6(packet) || whole);
}

#endif
