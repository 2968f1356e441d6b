/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The result of parsing a packet, and the cursor that moves over it. Independent of endpoints and policies, and of the hook,
 * tc or XDP: the program defines hook_context, the type of its argument, and interface_of(). Only data and data_end
 * of hook_context are used.
 */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

enum parsed {
	PARSED_IP,
	PARSED_ARP,
	PARSED_MALFORMED,
	PARSED_UNSUPPORTED,
};

/* As IPv4 has them. */
#define FRAGMENT_OFFSET 0x1fff
#define FRAGMENT_MORE 0x2000

/* The family of a packet's addresses; hidden if it has more VLAN tags than are parsed. */
enum family { FAMILY_NONE, FAMILY_IPV4, FAMILY_IPV6, FAMILY_HIDDEN };

struct cursor {
	hook_context *context;
	void *at;
	void *end;
};

struct packet {
	/* IPv4 addresses are in the low halves. For ARP, these are the sender and the target. */
	struct address_v6 source;
	struct address_v6 destination;
	__be32 fragment_id;
	__u16 fragment;       /* bits of FRAGMENT_OFFSET and FRAGMENT_MORE; for IPv6 only whether the offset is not 0 */
	bool fragment_header; /* of IPv6: also of an atomic fragment */
	__u32 payload;        /* bytes after the headers parsed so far, by the IP header: bytes beyond are padding */
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 tcp_flags; /* 0 without TCP */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 hop_limit;
	__u8 family; /* enum family */
	bool echo;   /* ICMP echo request or reply: both ports hold its identifier */
	bool sctp_init;
	bool quoted; /* quoted in an ICMP error: may end after 8 bytes of transport header */
};

static __always_inline bool is_v6(const struct packet *packet)
{
	return packet->family == FAMILY_IPV6;
}

/* Whether it has not even been the only fragment of a packet. */
static __always_inline bool is_never_fragmented(const struct packet *packet)
{
	return !packet->fragment && !packet->fragment_header;
}

static __always_inline bool is_first_fragment(const struct packet *packet)
{
	return packet->fragment == FRAGMENT_MORE;
}

static __always_inline bool is_later_fragment(const struct packet *packet)
{
	return packet->fragment & FRAGMENT_OFFSET;
}

static __always_inline struct cursor cursor_at_start(hook_context *context)
{
	return (struct cursor){
		.context = context,
		.at = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
	};
}

static __always_inline bool ensure(const struct cursor *cursor, __u32 bytes)
{
	return cursor->at + bytes <= cursor->end;
}

/* Advances. The barrier keeps the compiler from computing the position twice, which the verifier takes for two positions. */
static __always_inline void advance(struct cursor *cursor, __u32 bytes)
{
	cursor->at += bytes;
	asm volatile("" : "+r"(cursor->at));
}

/* The cursor's offset in the frame. The barrier keeps the compiler from subtracting only halves of the pointers. */
static __always_inline __u32 offset_of(const struct cursor *cursor)
{
	__u64 offset = cursor->at - (void *)(long)cursor->context->data;

	asm volatile("" : "+r"(offset));
	return offset;
}

/* Like ensure(), for bytes after the IP header: present in the frame and within the packet's own length. */
static __always_inline bool ensure_payload(const struct cursor *cursor, const struct packet *packet, __u32 bytes)
{
	return packet->payload >= bytes && ensure(cursor, bytes);
}

#endif
