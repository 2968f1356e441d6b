/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the hosts of a link tell each other beneath all policy: ARP, neighbour discovery, MLD and IGMP. To a pod it passes. From a pod,
 * only in exact shapes, which carry nothing else, about the pod's own addresses, and within a rate limit. A pod is no router: what only
 * routers send never leaves it.
 */
#ifndef WEIR_NEIGHBOUR_H
#define WEIR_NEIGHBOUR_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "conntrack.h"
#include "parse.h"
#include "report.h"
#include "source.h"
#include "transport.h"

#define NOT_NEIGHBOUR -1 /* no reason: the packet is none of these, and judged like any other */

/* `size` bytes of the frame from `at` on; NULL where it is shorter. */
static __always_inline const void *bytes_at(hook_context *hook, __u32 at, __u32 size)
{
	const void *bytes = (void *)(long)hook->data + (at & EXTENSIONS_MASK);

	asm volatile("" : "+r"(bytes));
	return bytes + size <= (void *)(long)hook->data_end ? bytes : NULL;
}

/* Whether the frame ends where the packet does, but for the padding of the shortest Ethernet frames. */
static __always_inline bool is_exact_frame(hook_context *hook, __u32 network, __u32 end)
{
	__u32 bytes = hook_bytes(hook);

	return bytes == end || bytes <= ETH_ZLEN + (network - ETH_HLEN);
}

/* One packet more of an endpoint's; false where it is over the rate limit. */
static __always_inline bool within_rate(const struct context *context)
{
	__u32 id = context->endpoint->id;
	struct rate *rate = bpf_map_lookup_elem(&neighbour_rates, &id);
	__u64 at = now();

	if (!rate)
		return false;
	/* CPUs that begin a period at once may let a few more pass. */
	if (at >= rate->ends) {
		rate->ends = at + context->node->ticks_per_second;
		rate->used = 0;
	}
	/* So that the sum never wraps, and a flood writes nothing that CPUs share. */
	if (rate->used >= context->node->neighbour_rate)
		return false;
	return __sync_fetch_and_add(&rate->used, 1) < context->node->neighbour_rate;
}

static __always_inline enum reason neighbour_unless_over_rate(const struct context *context)
{
	return context->direction == DIRECTION_INGRESS || within_rate(context) ? REASON_NEIGHBOUR : REASON_LIMITED;
}

static __always_inline bool is_address(const struct address_v6 *address, __u64 high, __u64 low)
{
	return address->high == bpf_cpu_to_be64(high) && address->low == bpf_cpu_to_be64(low);
}

#define LINK_SCOPE 0xff02000000000000ULL /* ff02::/64 */

/* Whether it is the multicast address at which an address is solicited (RFC 4291 2.7.1). */
static __always_inline bool solicits(const struct address_v6 *destination, const struct address_v6 *target)
{
	return destination->high == bpf_cpu_to_be64(LINK_SCOPE) &&
	       destination->low == (bpf_cpu_to_be64(0x00000001ff000000ULL) |
				    (target->low & bpf_cpu_to_be64(0x0000000000ffffffULL)));
}

/* Where the packet's parts begin in the frame. */
struct place {
	__u32 network;
	__u32 transport;
};

/* RFC 4861 section 4, of which hosts send three messages. The options are read by exact_option(). */
struct discovery {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 reserved;
};

struct discovery_option {
	__u8 type;
	__u8 length;
	__u8 bytes[6];
};

#define OPTION_SOURCE_LINK_ADDRESS 1
#define OPTION_TARGET_LINK_ADDRESS 2
#define OPTION_NONCE 14 /* RFC 7527, which Linux asks with whether its own address is free */
#define ADVERT_RESERVED 0x1fffffff

static __always_inline bool is_exact_option(const struct packet *packet, const struct discovery_option *option)
{
	if (option->length != 1)
		return false;
	if (packet->icmp_type == ND_NEIGHBOUR_ADVERT)
		return option->type == OPTION_TARGET_LINK_ADDRESS;
	/* Who asks without an address names no link-layer address (RFC 4861 4.1, 4.3). */
	if (is_unspecified(&packet->source))
		return packet->icmp_type == ND_NEIGHBOUR_SOLICIT && option->type == OPTION_NONCE;
	return option->type == OPTION_SOURCE_LINK_ADDRESS;
}

/* Whether a single address is one to which nothing is forwarded: link-local, this node's own, or on the link of the pod's bridge. */
static __always_inline bool is_on_link(const struct context *context, const struct address_v6 *address)
{
	if (is_multicast(address))
		return false;
	if (is_link_local(address) || is_source_v6(NODE_SCOPE, context->version, address->high, address->low))
		return true;
	return context->endpoint->bridge &&
	       is_source_v6(context->endpoint->bridge, context->version, address->high, address->low);
}

/*
 * Whether it goes where such a message goes: to the multicast address that it is for, or to a single address on the link, which for a
 * solicitation is the one that it asks for.
 */
static __always_inline bool is_well_addressed(const struct context *context, const struct packet *packet,
					      const struct address_v6 *target)
{
	const struct address_v6 *destination = &packet->destination;

	if (packet->icmp_type == ND_ROUTER_SOLICIT)
		return is_address(destination, LINK_SCOPE, 2);
	if (packet->icmp_type == ND_NEIGHBOUR_ADVERT)
		return is_address(destination, LINK_SCOPE, 1) || is_on_link(context, destination);
	if (is_multicast(target))
		return false;
	if (solicits(destination, target))
		return true;
	return !is_unspecified(&packet->source) && equal_addresses(destination, target) &&
	       is_on_link(context, destination);
}

/* What is in front of the options; false where the frame has not all of it, or a reserved field is used. */
static __always_inline bool read_discovery(hook_context *hook, const struct packet *packet, __u32 at,
					   struct address_v6 *target)
{
	const struct discovery *message = bytes_at(hook, at, sizeof(*message));
	__u32 reserved = packet->icmp_type == ND_NEIGHBOUR_ADVERT ? ADVERT_RESERVED : ~0u;
	const struct address_v6 *address;

	if (!message || message->reserved & bpf_htonl(reserved))
		return false;
	if (packet->icmp_type == ND_ROUTER_SOLICIT)
		return true;
	address = bytes_at(hook, at + ND_TARGET, sizeof(*address));
	if (!address)
		return false;
	*target = *address;
	return true;
}

/* What a message says: the address that it is about, and the MAC address in its option. */
struct discovered {
	struct address_v6 target;
	__be64 hardware;
	bool has_hardware;
};

/* From the pod: whether a message of neighbour discovery has the exact shape. No extension header, nothing behind it. */
static __always_inline bool is_exact_discovery(hook_context *hook, const struct context *context,
					       const struct packet *packet, const struct place *at,
					       struct discovered *found)
{
	const struct discovery_option *option;
	__u32 bytes = sizeof(struct discovery);

	if (packet->icmp_type != ND_ROUTER_SOLICIT)
		bytes += sizeof(found->target);

	if (packet->fragment || packet->hop_limit != 255 || packet->icmp_code)
		return false;
	if (at->transport != at->network + sizeof(struct ipv6hdr) ||
	    !is_exact_frame(hook, at->network, at->transport + packet->payload))
		return false;
	if (!read_discovery(hook, packet, at->transport, &found->target) ||
	    !is_well_addressed(context, packet, &found->target))
		return false;
	if (packet->payload == bytes)
		return true;
	option = bytes_at(hook, at->transport + bytes, sizeof(*option));
	if (!option || packet->payload != bytes + sizeof(*option) || !is_exact_option(packet, option))
		return false;
	found->has_hardware = option->type != OPTION_NONCE;
	found->hardware = hardware_at(option->bytes);
	return true;
}

/* Whether a pod may make the address known as its own. Those of nodes are nobody else's, whatever prefix an annotation allows. */
static __always_inline bool may_claim_v6(const struct context *context, const struct address_v6 *address)
{
	return owns_v6(context, address) && !(context->endpoint->more_sources && !is_link_local(address) &&
					      is_source_v6(NODE_SCOPE, context->version, address->high, address->low));
}

static __always_inline bool may_claim_v4(const struct context *context, __be32 address)
{
	return owns_v4(context, address) &&
	       !(context->endpoint->more_sources && is_source_v4(NODE_SCOPE, context->version, address));
}

/* Whether the message, whose source is the pod's own or none, is about an address and a MAC address of the pod. */
static __always_inline bool owns_discovery(const struct context *context, const struct packet *packet,
					   const struct discovered *found)
{
	if (found->has_hardware && !owns_hardware(context, found->hardware))
		return false;
	/* A solicitation from an address makes that known, one from none what it asks for, and an advertisement its target. */
	if (packet->icmp_type == ND_NEIGHBOUR_ADVERT || is_unspecified(&packet->source))
		return packet->icmp_type == ND_ROUTER_SOLICIT || may_claim_v6(context, &found->target);
	return may_claim_v6(context, &packet->source);
}

/* A message of neighbour discovery from the pod. */
static __always_inline int verdict_of_discovery(hook_context *hook, const struct context *context,
						const struct packet *packet, const struct place *at)
{
	struct discovered found = {};
	/* Before it has an address, a host asks without one (RFC 4861 4.1, 4.3). */
	bool from_nobody = is_unspecified(&packet->source) && packet->icmp_type != ND_NEIGHBOUR_ADVERT;

	if (guarded(context) && !from_nobody && !owns_v6(context, &packet->source))
		return REASON_SPOOFED;
	if (!is_exact_discovery(hook, context, packet, at, &found))
		return guarded(context) ? REASON_MALFORMED : NOT_NEIGHBOUR;
	if (guarded(context) && !owns_discovery(context, packet, &found))
		return REASON_SPOOFED;
	return neighbour_unless_over_rate(context);
}

/* RFC 3810 5: behind a hop-by-hop header with the router alert of MLD, whose padding is on either side of it. */
#define MLD_HEADER_BYTES 8
#define MLD_ALERT_FIRST 0x3a00050200000100ULL
#define MLD_ALERT_LAST 0x3a00010005020000ULL

#define GROUPS_MAX 80 /* records of a report; Linux reports as many as the MTU allows, some 70 */

struct listener {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 delay;   /* reserved in reports of version 2 */
	__be16 records; /* of reports of version 2 */
};

/* A record of a report of MLD or IGMP; behind it the group's address, and those of the sources. */
struct group_record {
	__u8 type;
	__u8 auxiliary;
	__be16 sources;
};

/*
 * Whether so many records, of addresses of `size` bytes, take just the bytes from `at` to `end`. A global function, so that the verifier
 * looks at it once.
 */
__noinline int are_records(hook_context *hook, __u32 at, __u32 end, __u32 records_size)
{
	__u32 records = records_size >> 8 & 0xffff, size = records_size & 0xff;

	for (int i = 0; i < GROUPS_MAX; i++) {
		const struct group_record *record = bytes_at(hook, at, sizeof(*record));

		if (records == 0)
			return at == end;
		if (!record || at >= end || at > EXTENSIONS_MASK || record->type < 1 || record->type > 6 ||
		    record->auxiliary)
			return false;
		at += sizeof(*record) + size * (1 + bpf_ntohs(record->sources));
		records--;
	}
	return records == 0 && at == end;
}

/* From the pod: whether a message of MLD has the exact shape, and stays on its link. */
static __always_inline bool is_exact_listener(hook_context *hook, const struct packet *packet, const struct place *at)
{
	__u32 end = at->transport + packet->payload;
	const struct address_v6 *group;
	const struct listener *message;
	const __be64 *header;

	if (packet->fragment || packet->hop_limit != 1 || packet->icmp_code)
		return false;
	if (at->transport != at->network + sizeof(struct ipv6hdr) + MLD_HEADER_BYTES ||
	    !is_exact_frame(hook, at->network, end))
		return false;
	header = bytes_at(hook, at->transport - MLD_HEADER_BYTES, sizeof(*header));
	if (!header || (*header != bpf_cpu_to_be64(MLD_ALERT_FIRST) && *header != bpf_cpu_to_be64(MLD_ALERT_LAST)))
		return false;
	message = bytes_at(hook, at->transport, sizeof(*message));
	if (!message || message->delay)
		return false;
	if (packet->icmp_type == MLD_REPORT_V2)
		return is_address(&packet->destination, LINK_SCOPE, 0x16) &&
		       are_records(hook, at->transport + sizeof(*message), end,
				   bpf_ntohs(message->records) << 8 | sizeof(*group));
	group = bytes_at(hook, at->transport + sizeof(*message), sizeof(*group));
	if (!group || message->records || packet->payload != sizeof(*message) + sizeof(*group) || !is_multicast(group))
		return false;
	return packet->icmp_type == MLD_DONE ? is_address(&packet->destination, LINK_SCOPE, 2)
					     : equal_addresses(&packet->destination, group);
}

/* Before it has an address, a host reports without one (RFC 3590). */
static __always_inline bool owns_listener(const struct context *context, const struct packet *packet)
{
	if (is_unspecified(&packet->source))
		return true;
	return is_link_local(&packet->source) && (!guarded(context) || owns_v6(context, &packet->source));
}

struct igmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 group; /* of reports of version 3: 16 bits reserved, and how many records there are */
};

#define ROUTER_ALERT 0x94040000
#define IGMP_ROUTERS 0xe0000002    /* 224.0.0.2 */
#define IGMP_V3_REPORTS 0xe0000016 /* 224.0.0.22 */
#define IGMP_RECORDS_MASK 0x0000ffff

/* From the pod: whether a message of IGMP has the exact shape, and stays on its link: RFC 3376 4. */
static __always_inline bool is_exact_igmp(hook_context *hook, const struct packet *packet, const struct place *at,
					  const struct igmp *message)
{
	__u32 end = at->transport + packet->payload, destination = bpf_ntohl((__be32)packet->destination.low);
	__u32 options = at->transport - at->network - sizeof(struct iphdr);
	const __be32 *alert;

	if (packet->fragment || packet->hop_limit != 1 || !is_exact_frame(hook, at->network, end))
		return false;
	alert = bytes_at(hook, at->transport - options, sizeof(*alert));
	if (options && (options != sizeof(*alert) || !alert || *alert != bpf_htonl(ROUTER_ALERT)))
		return false;
	if (message->code)
		return false;
	if (message->type == IGMP_REPORT_V3)
		return destination == IGMP_V3_REPORTS && !(message->group & bpf_htonl(~IGMP_RECORDS_MASK)) &&
		       are_records(hook, at->transport + sizeof(*message), end,
				   bpf_ntohl(message->group) << 8 | sizeof(__be32));
	if (packet->payload != sizeof(*message) || !is_multicast_v4(message->group))
		return false;
	if (message->type == IGMP_LEAVE)
		return destination == IGMP_ROUTERS;
	return (message->type == IGMP_REPORT || message->type == IGMP_REPORT_V2) &&
	       (__be32)packet->destination.low == message->group;
}

static __always_inline int verdict_of_igmp(hook_context *hook, const struct context *context,
					   const struct packet *packet, const struct place *at)
{
	const struct igmp *message = bytes_at(hook, at->transport, sizeof(*message));
	bool ingress = context->direction == DIRECTION_INGRESS;

	if (is_later_fragment(packet) || packet->payload < sizeof(*message) || !message)
		return NOT_NEIGHBOUR;
	if (ingress)
		return packet->fragment || packet->hop_limit != 1 || !is_multicast_v4((__be32)packet->destination.low)
			       ? NOT_NEIGHBOUR
			       : REASON_NEIGHBOUR;
	if (message->type == IGMP_QUERY || message->type == IGMP_MRD_ADVERT || message->type == IGMP_MRD_TERMINATION)
		return REASON_ROUTER;
	if (!is_exact_igmp(hook, packet, at, message))
		return NOT_NEIGHBOUR;
	/* A bridge's snooping knows hosts that have no address yet (RFC 4541 2.1.1). */
	if (packet->source.low && guarded(context) && !owns_v4(context, (__be32)packet->source.low))
		return REASON_SPOOFED;
	return neighbour_unless_over_rate(context);
}

static __always_inline bool is_listener(__u8 type)
{
	return (type >= MLD_QUERY && type <= MLD_DONE) || type == MLD_REPORT_V2;
}

static __always_inline bool is_from_router(__u8 type)
{
	return type == ND_ROUTER_ADVERT || type == ND_REDIRECT || type == MLD_QUERY || type == MRD_ADVERT ||
	       type == MRD_TERMINATION;
}

static __always_inline int verdict_of_icmpv6(hook_context *hook, const struct context *context,
					     const struct packet *packet, const struct place *at)
{
	__u8 type = packet->icmp_type;

	if (context->direction == DIRECTION_INGRESS) {
		if (is_neighbour_discovery(packet))
			return REASON_NEIGHBOUR;
		return is_listener(type) && !packet->fragment && packet->hop_limit == 1 &&
				       (is_link_local(&packet->source) || is_unspecified(&packet->source)) &&
				       is_multicast(&packet->destination)
			       ? REASON_NEIGHBOUR
			       : NOT_NEIGHBOUR;
	}
	if (is_from_router(type))
		return REASON_ROUTER;
	if (type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT)
		return verdict_of_discovery(hook, context, packet, at);
	if (is_listener(type) && is_exact_listener(hook, packet, at) && owns_listener(context, packet))
		return neighbour_unless_over_rate(context);
	return NOT_NEIGHBOUR;
}

static __always_inline int verdict_of_icmp(const struct context *context, const struct packet *packet)
{
	if (context->direction == DIRECTION_EGRESS &&
	    (packet->icmp_type == ICMP_REDIRECT || packet->icmp_type == ICMP_ROUTER_ADVERT))
		return REASON_ROUTER;
	return NOT_NEIGHBOUR;
}

/* Whether it may be one of the packets that this file is about. */
static __always_inline bool is_of_link(const struct packet *packet)
{
	if (is_v6(packet))
		return packet->protocol == IPPROTO_ICMPV6;
	return packet->protocol == IPPROTO_IGMP || packet->protocol == IPPROTO_ICMP;
}

/*
 * ARP from the pod, which has been read: a request or an answer of an address of its own. A probe (RFC 5227) has no sender's address and is
 * about the one that it asks for.
 */
static __always_inline enum reason verdict_of_arp(hook_context *hook, const struct context *context,
						  const struct packet *packet, const struct cursor *cursor)
{
	const struct arp_header *header = cursor->at;
	__be32 sender = (__be32)packet->source.low;
	__u32 network = offset_of(cursor);

	if (!ensure(cursor, sizeof(*header)))
		return REASON_MALFORMED;
	if (guarded(context) && (!may_claim_v4(context, sender ? sender : (__be32)packet->destination.low) ||
				 !owns_hardware(context, hardware_at(header->sender_hardware))))
		return REASON_SPOOFED;
	if (!is_exact_frame(hook, network, network + sizeof(*header)))
		return REASON_MALFORMED;
	if (!sender && header->operation != bpf_htons(ARP_REQUEST))
		return REASON_MALFORMED;
	return neighbour_unless_over_rate(context);
}

#endif
