/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast path, for plain packets, which nearly all packets are: an untagged Ethernet frame, IPv4 without options or IPv6
 * without extension headers, then unfragmented TCP or UDP. parse.h reads these too, with the same result. Here the
 * compiler can rely on what they lack, and generates a short path without it for the rest of the program.
 */
#ifndef WEIR_FAST_PATH_H
#define WEIR_FAST_PATH_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

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

#define PLAIN_UDP_BYTES 8

struct plain_v4 {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct plain_transport transport;
} __attribute__((packed));

struct plain_v6 {
	struct ethhdr ethernet;
	struct ipv6hdr ip;
	struct plain_transport transport;
} __attribute__((packed));

/* Parses TCP or UDP of `payload` bytes at the cursor. */
static __always_inline bool plain_transport(const struct cursor *cursor, struct packet *packet)
{
	const struct plain_transport *header = cursor->at;

	if (!ensure_payload(cursor, packet, PLAIN_UDP_BYTES))
		return false;
	packet->source_port = header->source_port;
	packet->destination_port = header->destination_port;
	if (packet->protocol == IPPROTO_UDP)
		return true;
	if (packet->protocol != IPPROTO_TCP || !ensure_payload(cursor, packet, sizeof(*header)))
		return false;
	packet->tcp_flags = header->tcp_flags;
	return header->tcp_words >> 4 >= 5;
}

static __always_inline bool parse_plain_v4(struct cursor cursor, struct packet *packet)
{
	const struct ethhdr *ethernet = cursor.at;
	const struct iphdr *ip = cursor.at + sizeof(*ethernet);

	if (!ensure(&cursor, sizeof(*ethernet) + sizeof(*ip)) || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return false;
	if (*(const __u8 *)ip != 0x45 || ip->frag_off & bpf_htons(FRAGMENT_OFFSET | FRAGMENT_MORE))
		return false;
	packet->family = FAMILY_IPV4;
	packet->source.low = ip->saddr;
	packet->destination.low = ip->daddr;
	packet->protocol = ip->protocol;
	packet->payload = bpf_ntohs(ip->tot_len) - sizeof(*ip);
	if (bpf_ntohs(ip->tot_len) < sizeof(*ip))
		return false;
	cursor.at += sizeof(*ethernet) + sizeof(*ip);
	return plain_transport(&cursor, packet);
}

static __always_inline bool parse_plain_v6(struct cursor cursor, struct packet *packet)
{
	const struct ethhdr *ethernet = cursor.at;
	const struct ipv6hdr *ip = cursor.at + sizeof(*ethernet);
	const struct address_v6 *addresses = (const void *)&ip->saddr;

	if (!ensure(&cursor, sizeof(*ethernet) + sizeof(*ip)) || ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return false;
	if (ip->version != 6)
		return false;
	packet->family = FAMILY_IPV6;
	packet->source = addresses[0];
	packet->destination = addresses[1];
	packet->protocol = ip->nexthdr;
	packet->payload = bpf_ntohs(ip->payload_len);
	cursor.at += sizeof(*ethernet) + sizeof(*ip);
	return plain_transport(&cursor, packet);
}

#endif
