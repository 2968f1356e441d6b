/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast path, for plain packets, which nearly all packets are: IPv4 without options or IPv6 without extension headers, with any VLAN
 * tags that are parsed, then unfragmented TCP or UDP. parse.h reads these too, with the same result. Here the compiler can rely on
 * what they lack, and generates a short path without it for the rest of the program.
 */
#ifndef WEIR_FAST_PATH_H
#define WEIR_FAST_PATH_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "counters.h"
#include "packet.h"
#include "transport.h"

struct plain_transport {
	__be16 source_port;
	__be16 destination_port;
	__u8 others[8];
	__u8 tcp_words; /* of the TCP header, in the upper half */
	__u8 tcp_flags;
	__u8 last[6];
};

#define UDP_HEADER_BYTES 8

/*
 * Parses TCP or UDP behind `before` bytes of IP header at the cursor; `length` is that of the IP packet, beyond which bytes are padding. As few checks as the two
 * need: the frame holds the IP header already, if not its transport header.
 */
static __always_inline bool plain_transport(const struct cursor *cursor, struct packet *packet, __u32 before,
					    __u32 length)
{
	const struct plain_transport *header = cursor->at + before;

	if (packet->protocol == IPPROTO_TCP) {
		if (length < before + sizeof(*header) || !ensure(cursor, before + sizeof(*header)))
			return false;
		packet->tcp_flags = header->tcp_flags;
		if (header->tcp_words >> 4 < 5)
			return false;
	} else if (packet->protocol != IPPROTO_UDP || length < before + UDP_HEADER_BYTES ||
		   !ensure(cursor, before + UDP_HEADER_BYTES)) {
		return false;
	}
	packet->payload = length - before;
	packet->source_port = header->source_port;
	packet->destination_port = header->destination_port;
	return true;
}

/* The cursor is at the IP header, here and in the next. */
static __always_inline bool parse_plain_v4(const struct cursor *cursor, struct packet *packet)
{
	const struct iphdr *ip = cursor->at;

	if (!ensure(cursor, sizeof(*ip)))
		return false;
	if (*(const __u8 *)ip != 0x45 || ip->frag_off & bpf_htons(FRAGMENT_OFFSET | FRAGMENT_MORE))
		return false;
	packet->family = FAMILY_IPV4;
	packet->source.low = ip->saddr;
	packet->destination.low = ip->daddr;
	packet->protocol = ip->protocol;
	return plain_transport(cursor, packet, sizeof(*ip), bpf_ntohs(ip->tot_len));
}

static __always_inline bool parse_plain_v6(const struct cursor *cursor, struct packet *packet)
{
	const struct ipv6hdr *ip = cursor->at;
	const struct address_v6 *addresses = (const void *)&ip->saddr;

	if (!ensure(cursor, sizeof(*ip)) || ip->version != 6)
		return false;
	packet->family = FAMILY_IPV6;
	packet->source = addresses[0];
	packet->destination = addresses[1];
	packet->protocol = ip->nexthdr;
	return plain_transport(cursor, packet, sizeof(*ip), sizeof(*ip) + bpf_ntohs(ip->payload_len));
}

/*
 * Whether the transport header is TCP's or UDP's, without reading it: such a packet to a pod that no policy isolates passes,
 * whatever else is in it. Of IPv6 only where its headers do not decide who has generated it: see generated_here().
 */
static __always_inline bool is_transport(const struct context *context, const struct cursor *cursor, __be16 protocol)
{
	const struct ipv6hdr *v6 = cursor->at;
	const struct iphdr *v4 = cursor->at;
	__u8 transport;

	if (protocol == bpf_htons(ETH_P_IP) && ensure(cursor, sizeof(*v4)))
		transport = v4->protocol;
	else if (protocol == bpf_htons(ETH_P_IPV6) && ensure(cursor, sizeof(*v6)) &&
		 (!is_local(context) || context->owned))
		transport = v6->nexthdr;
	else
		return false;
	return transport == IPPROTO_TCP || transport == IPPROTO_UDP;
}

#endif
