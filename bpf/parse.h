/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to a struct packet: a cursor over Ethernet, IPv4 and IPv6 headers up to the transport header's ports.
 * Knows nothing of endpoints and policies; serves tc and XDP alike: the program defines hook_context, the type of its
 * argument, of which only data and data_end are used here.
 */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

#define EXTENSION_HEADERS_MAX 8
#define NEXT_HEADER_HIP 139
#define NEXT_HEADER_SHIM6 140

#define IPV4_OFFSET 0x1fff
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV6_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001

/* <linux/icmp.h> pulls in the C library's socket headers, which have no BPF flavour. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_INFORMATIONAL 128 /* types below are errors */
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* Router solicitation to redirect: neighbour discovery, RFC 4861. */
#define ND_FIRST 133
#define ND_LAST 137

enum parsed {
	PARSED_IPV4,
	PARSED_IPV6,
	PARSED_ARP,
	PARSED_MALFORMED,
	PARSED_UNSUPPORTED,
};

enum fragment_part { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };

struct cursor {
	hook_context *context;
	void *at;
	void *end;
};

struct packet {
	/* IPv4 addresses stand in the low halves. */
	struct address_v6 source;
	struct address_v6 destination;
	__be32 fragment_id;
	__u32 payload; /* bytes after the headers parsed so far, as the IP header says: what lies beyond is padding */
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 hop_limit;
	__u8 fragment; /* enum fragment_part */
	bool echo;     /* ICMP echo request or reply: both ports hold its identifier */
	bool quoted;   /* quoted inside an ICMP error: may be cut off after 8 bytes of transport header */
};

static __always_inline bool ensure(const struct cursor *cursor, __u32 bytes)
{
	return cursor->at + bytes <= cursor->end;
}

/* Moves on. The barrier keeps the compiler from adding up the position twice, which the verifier takes for two positions. */
static __always_inline void advance(struct cursor *cursor, __u32 bytes)
{
	cursor->at += bytes;
	asm volatile("" : "+r"(cursor->at));
}

/* The same for what follows the IP header: present in the frame and inside the packet's own length. */
static __always_inline bool ensure_payload(const struct cursor *cursor, const struct packet *packet, __u32 bytes)
{
	return packet->payload >= bytes && ensure(cursor, bytes);
}

struct ports_header {
	__be16 source;
	__be16 destination;
};

static __always_inline bool parse_tcp(struct cursor *cursor, struct packet *packet)
{
	const struct ports_header *header = cursor->at;
	const __u8 *bytes = cursor->at;
	__u32 length = packet->quoted ? 8 : 20;

	if (!ensure_payload(cursor, packet, length))
		return false;
	packet->source_port = header->source;
	packet->destination_port = header->destination;
	if (packet->quoted)
		return true;
	packet->tcp_flags = bytes[13];
	return bytes[12] >> 4 >= 5;
}

static __always_inline bool parse_ports(struct cursor *cursor, struct packet *packet)
{
	const struct ports_header *header = cursor->at;

	/* UDP has 8 bytes, SCTP's common header 12; a quoted header is whole in its first 8. */
	if (!ensure_payload(cursor, packet, packet->protocol == IPPROTO_SCTP && !packet->quoted ? 12 : 8))
		return false;
	packet->source_port = header->source;
	packet->destination_port = header->destination;
	return true;
}

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 echo_id; /* in echo requests and replies */
	__be16 sequence;
};

static __always_inline bool parse_icmp(struct cursor *cursor, struct packet *packet)
{
	const struct icmp_header *header = cursor->at;
	__u8 request = packet->protocol == IPPROTO_ICMP ? ICMP_ECHO : ICMPV6_ECHO_REQUEST;
	__u8 reply = packet->protocol == IPPROTO_ICMP ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY;

	if (!ensure_payload(cursor, packet, sizeof(*header)))
		return false;
	packet->icmp_type = header->type;
	packet->icmp_code = header->code;
	if (header->type == request || header->type == reply) {
		packet->echo = true;
		packet->source_port = header->echo_id;
		packet->destination_port = header->echo_id;
	}
	return true;
}

/* The transport header. A later fragment has none; other protocols have no ports. */
static __always_inline bool parse_transport(struct cursor *cursor, struct packet *packet, __u8 icmp)
{
	if (packet->fragment == FRAGMENT_LATER)
		return true;
	if (packet->protocol == IPPROTO_TCP)
		return parse_tcp(cursor, packet);
	if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP)
		return parse_ports(cursor, packet);
	if (packet->protocol == icmp)
		return parse_icmp(cursor, packet);
	return true;
}

static __always_inline enum parsed parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	const struct iphdr *header = cursor->at;
	__u32 length, offset;

	if (!ensure(cursor, sizeof(*header)))
		return PARSED_MALFORMED;
	length = header->ihl * 4;
	if (header->version != 4 || length < sizeof(*header) || bpf_ntohs(header->tot_len) < length)
		return PARSED_MALFORMED;
	packet->source.low = header->saddr;
	packet->destination.low = header->daddr;
	packet->protocol = header->protocol;
	offset = bpf_ntohs(header->frag_off);
	if (offset & (IPV4_OFFSET | IPV4_MORE_FRAGMENTS)) {
		packet->fragment = offset & IPV4_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		packet->fragment_id = header->id;
		/* RFC 3128: an overlapping second fragment would rewrite the TCP flags that were judged. */
		if ((offset & IPV4_OFFSET) == 1 && header->protocol == IPPROTO_TCP)
			return PARSED_MALFORMED;
	}
	packet->payload = bpf_ntohs(header->tot_len) - length;
	advance(cursor, length);
	return parse_transport(cursor, packet, IPPROTO_ICMP) ? PARSED_IPV4 : PARSED_MALFORMED;
}

struct extension {
	__u8 next;
	__u8 length;
	__be16 offset; /* of a fragment header */
	__be32 id;     /* of a fragment header */
};

static __always_inline bool is_extension(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case NEXT_HEADER_HIP:
	case NEXT_HEADER_SHIM6:
		return true;
	default:
		return false;
	}
}

#define EXTENSIONS_MASK 0x3fff /* no eight headers are longer; the verifier wants to see a bound */
#define EXTENSIONS_MALFORMED 0xffff
#define EXTENSIONS_UNSUPPORTED 0xfffe

/* What a walk over extension headers found, packed into the one number that a function of its own may return. */
static __always_inline __u64 pack_extensions(__u32 length, __u8 protocol, __u8 fragment, __be32 id)
{
	return (__u64)id << 32 | (__u64)fragment << 24 | (__u64)protocol << 16 | length;
}

static __always_inline __u8 fragment_part_of(__be16 offset_field)
{
	__u16 offset = bpf_ntohs(offset_field);

	if (offset & IPV6_OFFSET)
		return FRAGMENT_LATER;
	/* RFC 6946: an atomic fragment is a whole packet. */
	return offset & IPV6_MORE_FRAGMENTS ? FRAGMENT_FIRST : FRAGMENT_NONE;
}

/*
 * Walks the extension headers from `offset` into the frame, at most `payload` bytes of them; `protocol` names the first.
 * A global function, so that the verifier looks at it once and not once for every way to get to it.
 */
__noinline __u64 walk_extensions(hook_context *context, __u32 offset, __u32 payload, __u32 protocol)
{
	void *end = (void *)(long)context->data_end;
	__u32 length = 0;
	__u8 fragment = FRAGMENT_NONE;
	bool fragmented = false;
	__be32 id = 0;

	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		const struct extension *header = (void *)(long)context->data + ((offset + length) & EXTENSIONS_MASK);
		__u32 size = 8;

		if (fragment == FRAGMENT_LATER || !is_extension(protocol))
			return pack_extensions(length, protocol, fragment, id);
		if ((void *)(header + 1) > end)
			return EXTENSIONS_MALFORMED;
		if (protocol == IPPROTO_FRAGMENT) {
			if (fragmented)
				return EXTENSIONS_MALFORMED;
			fragmented = true;
			fragment = fragment_part_of(header->offset);
			id = header->id;
		} else {
			size = protocol == IPPROTO_AH ? (header->length + 2) * 4 : (header->length + 1) * 8;
		}
		length += size;
		if (length > payload || length > EXTENSIONS_MASK / 2)
			return EXTENSIONS_MALFORMED;
		protocol = header->next;
	}
	return EXTENSIONS_UNSUPPORTED;
}

static __always_inline enum parsed parse_extensions(struct cursor *cursor, struct packet *packet)
{
	__u32 offset = cursor->at - (void *)(long)cursor->context->data;
	__u64 found = walk_extensions(cursor->context, offset, packet->payload, packet->protocol);
	__u32 length = (__u16)found;

	if (length >= EXTENSIONS_UNSUPPORTED)
		return length == EXTENSIONS_MALFORMED ? PARSED_MALFORMED : PARSED_UNSUPPORTED;
	packet->protocol = found >> 16;
	packet->fragment = (__u8)(found >> 24);
	packet->fragment_id = found >> 32;
	packet->payload -= length;
	advance(cursor, length & EXTENSIONS_MASK);
	return PARSED_IPV6;
}

static __always_inline enum parsed parse_ipv6(struct cursor *cursor, struct packet *packet)
{
	const struct ipv6hdr *header = cursor->at;
	const struct address_v6 *addresses;
	enum parsed parsed;

	if (!ensure(cursor, sizeof(*header)) || header->version != 6)
		return PARSED_MALFORMED;
	/* A jumbogram has no length here (RFC 2675); no link of a pod carries one. */
	if (header->payload_len == 0 && header->nexthdr != IPPROTO_NONE)
		return PARSED_MALFORMED;
	addresses = (const void *)&header->saddr;
	packet->source = addresses[0];
	packet->destination = addresses[1];
	packet->protocol = header->nexthdr;
	packet->hop_limit = header->hop_limit;
	packet->payload = bpf_ntohs(header->payload_len);
	advance(cursor, sizeof(*header));
	if (is_extension(packet->protocol)) {
		parsed = parse_extensions(cursor, packet);
		if (parsed != PARSED_IPV6)
			return parsed;
	}
	return parse_transport(cursor, packet, IPPROTO_ICMPV6) ? PARSED_IPV6 : PARSED_MALFORMED;
}

struct vlan_header {
	__be16 tag;
	__be16 protocol;
};

/* Up to two VLAN tags (802.1ad around 802.1Q). */
static __always_inline bool parse_ethernet(struct cursor *cursor, __be16 *protocol)
{
	const struct ethhdr *ethernet = cursor->at;

	if (!ensure(cursor, sizeof(*ethernet)))
		return false;
	*protocol = ethernet->h_proto;
	advance(cursor, sizeof(*ethernet));
#pragma clang loop unroll(full)
	for (int i = 0; i < 2; i++) {
		const struct vlan_header *vlan = cursor->at;

		if (*protocol != bpf_htons(ETH_P_8021Q) && *protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (!ensure(cursor, sizeof(*vlan)))
			return false;
		*protocol = vlan->protocol;
		advance(cursor, sizeof(*vlan));
	}
	return true;
}

static __always_inline bool is_neighbour_discovery(const struct packet *packet)
{
	/* RFC 4861 6.1 and 7.1: a hop limit of 255 proves that no router forwarded it. */
	return packet->protocol == IPPROTO_ICMPV6 && packet->icmp_type >= ND_FIRST && packet->icmp_type <= ND_LAST &&
	       packet->icmp_code == 0 && packet->hop_limit == 255 && packet->fragment == FRAGMENT_NONE;
}

/* Whether an ICMP message quotes the packet that it is about. */
static __always_inline bool is_icmp_error(const struct packet *packet)
{
	if (packet->fragment != FRAGMENT_NONE)
		return false;
	if (packet->protocol == IPPROTO_ICMPV6)
		return packet->icmp_type < ICMPV6_INFORMATIONAL;
	return packet->protocol == IPPROTO_ICMP &&
	       (packet->icmp_type == ICMP_DEST_UNREACH || packet->icmp_type == ICMP_TIME_EXCEEDED ||
		packet->icmp_type == ICMP_PARAMETERPROB);
}

#endif
