/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Transport headers: ports, flags and types of TCP, UDP, SCTP and both ICMPs, and what follows from these alone.
 */
#ifndef WEIR_TRANSPORT_H
#define WEIR_TRANSPORT_H

#include "packet.h"

/* <linux/icmp.h> includes the C library's socket headers, which have no BPF variant. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_ROUTER_ADVERT 9
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_INFORMATIONAL 128 /* types below are errors */
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

/* Neighbour discovery, RFC 4861 section 4. */
#define ND_ROUTER_SOLICIT 133
#define ND_ROUTER_ADVERT 134
#define ND_NEIGHBOUR_SOLICIT 135
#define ND_NEIGHBOUR_ADVERT 136
#define ND_REDIRECT 137
#define ND_TARGET 8 /* offset of the target address in the last three */

/* Multicast listener discovery, RFC 2710 section 3 and RFC 3810 section 5. */
#define MLD_QUERY 130
#define MLD_REPORT 131
#define MLD_DONE 132
#define MLD_REPORT_V2 143

/* Multicast router discovery, RFC 4286 section 3, in ICMPv6 and in IGMP. */
#define MRD_ADVERT 151
#define MRD_TERMINATION 153
#define IGMP_MRD_ADVERT 0x30
#define IGMP_MRD_TERMINATION 0x32

#define DNS_PORT 53

/* RFC 2236 section 2 and RFC 3376 section 4. */
#define IGMP_QUERY 0x11
#define IGMP_REPORT 0x12
#define IGMP_REPORT_V2 0x16
#define IGMP_LEAVE 0x17
#define IGMP_REPORT_V3 0x22

/* RFC 9260 3: the first chunk's type follows the common header. An INIT is alone in its packet (4.3). */
#define SCTP_CHUNK 12
#define SCTP_INIT 1

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct ports_header {
	__be16 source;
	__be16 destination;
};

static __always_inline bool parse_tcp(struct cursor *cursor, struct packet *packet)
{
	const struct ports_header *header = cursor->at;
	const __u8 *bytes = cursor->at;

	/* Each read has its own check: the verifier of Linux 6.1 does not see that the same condition gives the same answer twice. */
	if (!ensure_payload(cursor, packet, 8))
		return false;
	packet->source_port = header->source;
	packet->destination_port = header->destination;
	if (packet->quoted)
		return true;
	if (!ensure_payload(cursor, packet, 20))
		return false;
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
	if (packet->protocol == IPPROTO_SCTP && ensure_payload(cursor, packet, SCTP_CHUNK + 1))
		packet->sctp_init = *(const __u8 *)(cursor->at + SCTP_CHUNK) == SCTP_INIT;
	return true;
}

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 echo_id; /* in echo requests and replies */
	__be16 sequence;
};

static __always_inline bool has_target(__u8 type)
{
	return type >= ND_NEIGHBOUR_SOLICIT && type <= ND_REDIRECT;
}

static __always_inline bool parse_icmp(struct cursor *cursor, struct packet *packet)
{
	const struct icmp_header *header = cursor->at;
	__u8 request = is_v6(packet) ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
	__u8 reply = is_v6(packet) ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;

	if (!ensure_payload(cursor, packet, sizeof(*header)))
		return false;
	packet->icmp_type = header->type;
	packet->icmp_code = header->code;
	if (header->type == request || header->type == reply) {
		packet->echo = true;
		packet->source_port = header->echo_id;
		packet->destination_port = header->echo_id;
	}
	if (is_v6(packet) && has_target(header->type) && !packet->quoted)
		return ensure_payload(cursor, packet, ND_TARGET + sizeof(struct address_v6));
	return true;
}

/* The transport header. A later fragment has none; other protocols have no ports. */
static __always_inline bool parse_transport(struct cursor *cursor, struct packet *packet)
{
	/* RFC 3128: an overlapping second fragment would rewrite the TCP flags that were judged. */
	if (is_later_fragment(packet))
		return (packet->fragment & FRAGMENT_OFFSET) != 1 || packet->protocol != IPPROTO_TCP;
	if (packet->protocol == IPPROTO_TCP)
		return parse_tcp(cursor, packet);
	if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP)
		return parse_ports(cursor, packet);
	if (packet->protocol == (is_v6(packet) ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return parse_icmp(cursor, packet);
	return true;
}

/* Only TCP packets have flags. */
static __always_inline bool is_syn(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static __always_inline bool is_syn_ack(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == (TCP_SYN | TCP_ACK);
}

/* A TCP segment that opens no connection: one of a connection, of none, or the reply to a SYN. */
static __always_inline bool is_midstream(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && !is_syn(packet);
}

/* Whether the packet opens a new flow even if its ports have one: a TCP SYN, an SCTP INIT. */
static __always_inline bool is_opening(const struct packet *packet)
{
	return packet->sctp_init || is_syn(packet);
}

static __always_inline bool is_echo_request(const struct packet *packet)
{
	return packet->icmp_type == (is_v6(packet) ? ICMPV6_ECHO_REQUEST : ICMP_ECHO);
}

/* A reply even as a flow's first packet: its request belongs to a flow of the other side, or to none. */
static __always_inline bool is_echo_reply(const struct packet *packet)
{
	return packet->echo && !is_echo_request(packet);
}

static __always_inline bool is_neighbour_discovery(const struct packet *packet)
{
	/* RFC 4861 6.1 and 7.1: a hop limit of 255 proves that no router forwarded it. */
	return is_v6(packet) && packet->protocol == IPPROTO_ICMPV6 && packet->icmp_type >= ND_ROUTER_SOLICIT &&
	       packet->icmp_type <= ND_REDIRECT && packet->icmp_code == 0 && packet->hop_limit == 255 &&
	       !packet->fragment;
}

/* Whether an ICMP message quotes the packet that it is about, by its type. */
static __always_inline bool has_error_type(const struct packet *packet)
{
	if (is_later_fragment(packet))
		return false;
	if (is_v6(packet))
		return packet->protocol == IPPROTO_ICMPV6 && packet->icmp_type < ICMPV6_INFORMATIONAL;
	return packet->protocol == IPPROTO_ICMP &&
	       (packet->icmp_type == ICMP_DEST_UNREACH || packet->icmp_type == ICMP_TIME_EXCEEDED ||
		packet->icmp_type == ICMP_PARAMETERPROB);
}

static __always_inline bool is_icmp_error(const struct packet *packet)
{
	return !packet->fragment && has_error_type(packet);
}

#endif
