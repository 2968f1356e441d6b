/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to a struct packet: Ethernet, ARP, IPv4 and IPv6 headers up to the transport header's ports.
 */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "ethernet.h"
#include "packet.h"
#include "transport.h"

#define EXTENSION_HEADERS_MAX 8
#define NEXT_HEADER_HIP 139
#define NEXT_HEADER_SHIM6 140

#define SEGMENTS_LEFT 0x00ff
#define IPV6_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_LSRR 131
#define OPTION_SSRR 137
#define OPTIONS_MAX 40

#define EXTENSIONS_MASK 0x3fff /* the limit of offsets in a frame; the verifier requires a bound */

/* The same number, of which the verifier knows nothing more: swapping bytes makes it forget. */
static __always_inline __u64 forget_bounds(__u64 number)
{
	asm volatile("%0 = be64 %0\n\t%0 = be64 %0" : "+r"(number));
	return number;
}

/*
 * Walks `length` bytes of IPv4 options, `offset` bytes into the frame. A source route leads to an address that policy does not check,
 * like a routing header. A global function, so that the verifier checks it once.
 */
__noinline int walk_options(hook_context *context, __u32 offset, __u32 length)
{
	void *end = (void *)(long)context->data_end;
	__u32 next = 0;

	if ((void *)(long)context->data + ((offset + length) & EXTENSIONS_MASK) > end)
		return PARSED_MALFORMED;
	/* Byte by byte, so that the verifier has each position: from option to option it would follow every path through them. What it knows of `next` is lost for the same reason. */
	for (__u32 i = 0; i < OPTIONS_MAX; i++) {
		const __u8 *option = (void *)(long)context->data + ((offset + i) & EXTENSIONS_MASK);

		if (i >= length)
			return PARSED_IP;
		if (i < next)
			continue;
		if ((void *)(option + 1) > end)
			return PARSED_MALFORMED;
		if (option[0] == OPTION_END)
			return PARSED_IP;
		if (option[0] == OPTION_LSRR || option[0] == OPTION_SSRR)
			return PARSED_UNSUPPORTED;
		if (option[0] == OPTION_NOP)
			continue;
		if ((void *)(option + 2) > end || option[1] < 2 || i + option[1] > length)
			return PARSED_MALFORMED;
		next = forget_bounds(i + option[1]);
	}
	return PARSED_IP;
}

static __always_inline enum parsed parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	const struct iphdr *header = cursor->at;
	enum parsed options;
	__u32 length;

	if (!ensure(cursor, sizeof(*header)))
		return PARSED_MALFORMED;
	length = header->ihl * 4;
	if (header->version != 4 || length < sizeof(*header) || bpf_ntohs(header->tot_len) < length)
		return PARSED_MALFORMED;
	packet->family = FAMILY_IPV4;
	packet->source.low = header->saddr;
	packet->destination.low = header->daddr;
	packet->protocol = header->protocol;
	packet->hop_limit = header->ttl;
	packet->fragment = bpf_ntohs(header->frag_off) & (FRAGMENT_OFFSET | FRAGMENT_MORE);
	packet->fragment_id = header->id;
	packet->payload = bpf_ntohs(header->tot_len) - length;
	if (length > sizeof(*header)) {
		options = walk_options(cursor->context, offset_of(cursor) + sizeof(*header), length - sizeof(*header));
		if (options != PARSED_IP)
			return options;
	}
	advance(cursor, length);
	return parse_transport(cursor, packet) ? PARSED_IP : PARSED_MALFORMED;
}

struct extension {
	__u8 next;
	__u8 length;
	__be16 offset; /* of a fragment header; of a routing header, its type and SEGMENTS_LEFT */
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

#define EXTENSIONS_MALFORMED 0xffff
#define EXTENSIONS_UNSUPPORTED 0xfffe

/* The result of a walk over extension headers, packed into the one number that a global function may return. */
static __always_inline __u64 pack_extensions(__u32 length, __u8 protocol, __u8 fragment, __be32 id)
{
	return (__u64)id << 32 | (__u64)fragment << 24 | (__u64)protocol << 16 | length;
}

/* Bits of the packed `fragment`; shifted, they are FRAGMENT_MORE and one bit of FRAGMENT_OFFSET. */
#define PACKED_LATER 1
#define PACKED_MORE 2
#define PACKED_SHIFT 12
#define PACKED_HEADER 4 /* there is a fragment header */

/*
 * Walks the extension headers from `offset` into the frame, at most `payload` bytes of them; `protocol` names the first.
 * A global function, so that the verifier checks it once and not once for every path that leads to it.
 */
__noinline __u64 walk_extensions(hook_context *context, __u32 offset, __u32 payload, __u32 protocol)
{
	void *end = (void *)(long)context->data_end;
	__u32 length = 0;
	__u8 fragment = 0;
	__be32 id = 0;

	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		const struct extension *header = (void *)(long)context->data + ((offset + length) & EXTENSIONS_MASK);
		__u32 size = 8;

		if (fragment & PACKED_LATER || !is_extension(protocol))
			return pack_extensions(length, protocol, fragment, id);
		if ((void *)(header + 1) > end)
			return EXTENSIONS_MALFORMED;
		if (protocol == IPPROTO_FRAGMENT) {
			if (fragment)
				return EXTENSIONS_MALFORMED;
			/* RFC 6946: a fragment with neither, an atomic fragment, is a whole packet. */
			fragment = PACKED_HEADER;
			fragment |= header->offset & bpf_htons(IPV6_OFFSET) ? PACKED_LATER : 0;
			fragment |= header->offset & bpf_htons(IPV6_MORE_FRAGMENTS) ? PACKED_MORE : 0;
			id = header->id;
		} else {
			/* Its destination is not its final one, which policy is about (RFC 5095, RFC 8754). */
			if (protocol == IPPROTO_ROUTING && header->offset & bpf_htons(SEGMENTS_LEFT))
				return EXTENSIONS_UNSUPPORTED;
			size = protocol == IPPROTO_AH ? (header->length + 2) * 4 : (header->length + 1) * 8;
		}
		length += size;
		if (length > payload || offset + length > EXTENSIONS_MASK)
			return EXTENSIONS_MALFORMED;
		protocol = header->next;
	}
	return EXTENSIONS_UNSUPPORTED;
}

static __always_inline enum parsed parse_extensions(struct cursor *cursor, struct packet *packet)
{
	__u64 found = walk_extensions(cursor->context, offset_of(cursor), packet->payload, packet->protocol);
	__u32 length = (__u16)found;

	if (length >= EXTENSIONS_UNSUPPORTED)
		return length == EXTENSIONS_MALFORMED ? PARSED_MALFORMED : PARSED_UNSUPPORTED;
	packet->protocol = found >> 16;
	packet->fragment = (__u16)((found >> 24) & (PACKED_LATER | PACKED_MORE)) << PACKED_SHIFT;
	packet->fragment_header = found >> 24 & PACKED_HEADER;
	packet->fragment_id = found >> 32;
	packet->payload -= length;
	advance(cursor, length & EXTENSIONS_MASK);
	return PARSED_IP;
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
	packet->family = FAMILY_IPV6;
	packet->source = addresses[0];
	packet->destination = addresses[1];
	packet->protocol = header->nexthdr;
	packet->hop_limit = header->hop_limit;
	packet->payload = bpf_ntohs(header->payload_len);
	advance(cursor, sizeof(*header));
	if (is_extension(packet->protocol)) {
		parsed = parse_extensions(cursor, packet);
		if (parsed != PARSED_IP)
			return parsed;
	}
	return parse_transport(cursor, packet) ? PARSED_IP : PARSED_MALFORMED;
}

struct vlan_header {
	__be16 tag;
	__be16 protocol;
};

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Up to two VLAN tags (802.1ad around 802.1Q). */
static __always_inline bool parse_ethernet(struct cursor *cursor, __be16 *protocol)
{
	const struct ethhdr *ethernet = cursor->at;

	if (!ensure(cursor, sizeof(*ethernet)))
		return false;
	*protocol = ethernet_type(ethernet);
	advance(cursor, sizeof(*ethernet));
#pragma clang loop unroll(full)
	for (int i = 0; i < 2; i++) {
		const struct vlan_header *vlan = cursor->at;

		if (!is_vlan(*protocol))
			break;
		if (!ensure(cursor, sizeof(*vlan)))
			return false;
		*protocol = vlan->protocol;
		advance(cursor, sizeof(*vlan));
	}
	return true;
}

#define ARP_REQUEST 1
#define ARP_REPLY 2

/* ARP for IPv4 over Ethernet, RFC 826. */
struct arp_header {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_hardware[6];
	__u8 sender[4];
	__u8 target_hardware[6];
	__u8 target[4];
};

/* Linux also accepts hardware type 6 (IEEE 802) as Ethernet; a second form of the same claim would need a second check. */
static __always_inline bool parse_arp(struct cursor *cursor, struct packet *packet)
{
	const struct arp_header *header = cursor->at;
	__be32 sender, target;

	if (!ensure(cursor, sizeof(*header)))
		return false;
	if (header->hardware != bpf_htons(1) || header->protocol != bpf_htons(ETH_P_IP) ||
	    header->hardware_length != 6 || header->protocol_length != 4)
		return false;
	if (header->operation != bpf_htons(ARP_REQUEST) && header->operation != bpf_htons(ARP_REPLY))
		return false;
	__builtin_memcpy(&sender, header->sender, sizeof(sender));
	__builtin_memcpy(&target, header->target, sizeof(target));
	/* A probe is sent before the host has an address, and has no sender address (RFC 5227). */
	if (sender)
		packet->family = FAMILY_IPV4;
	packet->source.low = sender;
	packet->destination.low = target;
	return true;
}

/*
 * Reads only the claimed source of a packet that is not a whole IP packet, into `family` and `source`. Separate
 * from parse(), so that whole packets do not pay for the fields that only the others need. False if ARP is malformed.
 */
static __always_inline bool parse_source(struct cursor *cursor, struct packet *packet)
{
	const struct ipv6hdr *v6;
	const struct iphdr *v4;
	__be16 protocol;

	if (!parse_ethernet(cursor, &protocol))
		return true;
	if (protocol == bpf_htons(ETH_P_ARP))
		return parse_arp(cursor, packet);
	if (is_vlan(protocol))
		packet->family = FAMILY_HIDDEN;
	v4 = cursor->at;
	v6 = cursor->at;
	if (protocol == bpf_htons(ETH_P_IP) && ensure(cursor, sizeof(*v4))) {
		packet->family = FAMILY_IPV4;
		packet->source.low = v4->saddr;
	}
	if (protocol == bpf_htons(ETH_P_IPV6) && ensure(cursor, sizeof(*v6))) {
		packet->family = FAMILY_IPV6;
		packet->source = *(const struct address_v6 *)&v6->saddr;
	}
	return true;
}

static __always_inline enum parsed parse(struct cursor *cursor, struct packet *packet)
{
	__be16 protocol;

	if (!parse_ethernet(cursor, &protocol))
		return PARSED_MALFORMED;
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(cursor, packet);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(cursor, packet);
	return protocol == bpf_htons(ETH_P_ARP) ? PARSED_ARP : PARSED_UNSUPPORTED;
}

#endif
