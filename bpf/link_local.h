/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Link-local control traffic, to which no policy applies: ARP, neighbour discovery, MLD and IGMP; and what only routers send. To a pod ARP and neighbour discovery
 * pass, since routers and other hosts may add options; MLD and IGMP pass in exact formats, which carry no other data. From a pod all of
 * it passes only in exact formats, about the pod's own addresses, and within a rate limit. A pod is not a router: messages that only
 * routers send are dropped, and errors about packets that did not go to the pod.
 */
#ifndef WEIR_LINK_LOCAL_H
#define WEIR_LINK_LOCAL_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "conntrack.h"
#include "parse.h"
#include "counters.h"
#include "anti_spoofing.h"
#include "transport.h"

#define NOT_NEIGHBOUR -1 /* not a reason: the packet is none of these, and is judged like any other */

/* `size` bytes of the frame from `at` on; NULL if the frame is shorter. */
static __always_inline const void *bytes_at(hook_context *hook, __u32 at, __u32 size)
{
	const void *bytes = (void *)(long)hook->data + (at & EXTENSIONS_MASK);

	asm volatile("" : "+r"(bytes));
	return bytes + size <= (void *)(long)hook->data_end ? bytes : NULL;
}

/* Whether what follows is padding of the shortest Ethernet frames: few zeros. A global function, so that the verifier checks it once. */
__noinline int is_padding(hook_context *hook, __u32 at)
{
	for (__u32 i = 0; i < ETH_ZLEN; i++) {
		const __u8 *byte = bytes_at(hook, at + i, sizeof(*byte));

		if (!byte)
			return 1;
		if (*byte)
			return 0;
	}
	return 0;
}

/* Whether the frame ends where the packet does, except for padding; what comes to the pod may be padded with anything. */
static __always_inline bool is_exact_frame(hook_context *hook, enum direction direction, __u32 network, __u32 end)
{
	__u32 bytes = hook_bytes(hook);

	if (bytes == end)
		return true;
	return bytes <= ETH_ZLEN + (network - ETH_HLEN) && (direction == DIRECTION_INGRESS || is_padding(hook, end));
}

/* Counts one more packet of an endpoint; false if it exceeds the rate limit. */
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
	/* The sum must never wrap, and a flood must not write to memory that CPUs share. */
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

/* Whether it is the solicited-node multicast address of an address (RFC 4291 2.7.1). */
static __always_inline bool solicits(const struct address_v6 *destination, const struct address_v6 *target)
{
	return destination->high == bpf_cpu_to_be64(LINK_SCOPE) &&
	       destination->low == (bpf_cpu_to_be64(0x00000001ff000000ULL) |
				    (target->low & bpf_cpu_to_be64(0x0000000000ffffffULL)));
}

/* The offsets of the packet's headers in the frame. */
struct place {
	__u32 network;
	__u32 transport;
};

/* RFC 4861 section 4; hosts send three of its messages. exact_option() reads the options. */
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
#define OPTION_NONCE 14 /* RFC 7527; Linux sends it in duplicate address detection */
#define ADVERT_RESERVED 0x1fffffff

static __always_inline bool is_exact_option(const struct packet *packet, const struct discovery_option *option)
{
	if (option->length != 1)
		return false;
	if (packet->icmp_type == ND_NEIGHBOUR_ADVERT)
		return option->type == OPTION_TARGET_LINK_ADDRESS;
	/* A solicitation from the unspecified address has no link-layer address option (RFC 4861 4.1, 4.3). */
	if (is_unspecified(&packet->source))
		return packet->icmp_type == ND_NEIGHBOUR_SOLICIT && option->type == OPTION_NONCE;
	return option->type == OPTION_SOURCE_LINK_ADDRESS;
}

/* Whether packets to a unicast address are not forwarded: it is link-local, this node's own, or on the link of the pod's bridge. */
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
 * Whether the destination is valid for such a message: its multicast address, or a unicast address on the link, which must be the
 * target of a solicitation.
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

/* Reads the fields before the options; false if the frame is too short for them, or a reserved field is used. */
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

/* The content of a message: its target address, and the MAC address in its option. */
struct discovered {
	struct address_v6 target;
	__be64 hardware;
	bool has_hardware;
};

/* From the pod: whether a message of neighbour discovery has the exact format: no extension header, no trailing bytes. */
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
	    !is_exact_frame(hook, context->direction, at->network, at->transport + packet->payload))
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

/* Whether a pod may announce the address as its own. Addresses of nodes are excluded, even if an annotation's prefix contains them. */
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

/* Whether the message, whose source is an address of the pod or unspecified, is about an address and a MAC address of the pod. */
static __always_inline bool owns_discovery(const struct context *context, const struct packet *packet,
					   const struct discovered *found)
{
	if (found->has_hardware && !owns_hardware(context, found->hardware))
		return false;
	/* A solicitation announces its source or, if that is unspecified, its target; an advertisement announces its target. */
	if (packet->icmp_type == ND_NEIGHBOUR_ADVERT || is_unspecified(&packet->source))
		return packet->icmp_type == ND_ROUTER_SOLICIT || may_claim_v6(context, &found->target);
	return may_claim_v6(context, &packet->source);
}

/* A message of neighbour discovery from the pod. */
static __always_inline int verdict_of_discovery(hook_context *hook, const struct context *context,
						const struct packet *packet, const struct place *at)
{
	struct discovered found = {};
	/* Before it has an address, a host solicits from the unspecified address (RFC 4861 4.1, 4.3). */
	bool from_nobody = is_unspecified(&packet->source) && packet->icmp_type != ND_NEIGHBOUR_ADVERT;

	if (guarded(context) && !from_nobody && !owns_v6(context, &packet->source))
		return REASON_SPOOFED;
	if (!is_exact_discovery(hook, context, packet, at, &found))
		return guarded(context) ? REASON_MALFORMED : NOT_NEIGHBOUR;
	if (guarded(context) && !owns_discovery(context, packet, &found))
		return REASON_SPOOFED;
	return neighbour_unless_over_rate(context);
}

/* RFC 3810 5: behind a hop-by-hop header with MLD's router alert, with padding before or after the alert. */
#define MLD_HEADER_BYTES 8
#define MLD_ALERT_FIRST 0x3a00050200000100ULL
#define MLD_ALERT_LAST 0x3a00010005020000ULL

#define GROUPS_MAX 80 /* records of a report; Linux reports as many as the MTU allows, about 70 */

struct listener {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 delay;   /* reserved in reports of version 2 */
	__be16 records; /* of reports of version 2 */
};

/* A record of an MLD or IGMP report, followed by the addresses of the group and of the sources. */
struct group_record {
	__u8 type;
	__u8 auxiliary;
	__be16 sources;
};

/*
 * Whether this number of records, with addresses of `size` bytes, fills exactly the bytes from `at` to `end`. A global function, so that
 * the verifier checks it once.
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

/* The end of a query of MLDv2 or IGMPv3, followed by the addresses of its sources. */
struct query_end {
	__u8 flags;
	__u8 interval;
	__be16 sources;
};

/* Whether a query, which is `bytes` long in older versions and names addresses of `size` bytes, has no trailing bytes. */
static __always_inline bool is_exact_query(hook_context *hook, const struct packet *packet, const struct place *at,
					   __u32 bytes, __u32 size)
{
	const struct query_end *end = bytes_at(hook, at->transport + bytes, sizeof(*end));

	return packet->payload == bytes ||
	       (end && packet->payload == bytes + sizeof(*end) + size * bpf_ntohs(end->sources));
}

/* Whether an MLD message has the exact format, and stays on its link. */
static __always_inline bool is_exact_listener(hook_context *hook, const struct context *context,
					      const struct packet *packet, const struct place *at)
{
	__u32 end = at->transport + packet->payload;
	const struct address_v6 *group;
	const struct listener *message;
	const __be64 *header;

	if (packet->fragment || packet->hop_limit != 1 || packet->icmp_code)
		return false;
	if (at->transport != at->network + sizeof(struct ipv6hdr) + MLD_HEADER_BYTES ||
	    !is_exact_frame(hook, context->direction, at->network, end))
		return false;
	header = bytes_at(hook, at->transport - MLD_HEADER_BYTES, sizeof(*header));
	if (!header || (*header != bpf_cpu_to_be64(MLD_ALERT_FIRST) && *header != bpf_cpu_to_be64(MLD_ALERT_LAST)))
		return false;
	if (packet->icmp_type == MLD_QUERY)
		return is_exact_query(hook, packet, at, sizeof(*message) + sizeof(*group), sizeof(*group));
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

/* Before it has an address, a host reports from the unspecified address (RFC 3590). */
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

static __always_inline bool is_igmp_query(const struct igmp *message)
{
	return message->type == IGMP_QUERY || message->type == IGMP_MRD_ADVERT || message->type == IGMP_MRD_TERMINATION;
}

/* Whether an IGMP message has the exact format, and stays on its link: RFC 3376 4. */
static __always_inline bool is_exact_igmp(hook_context *hook, const struct context *context,
					  const struct packet *packet, const struct place *at,
					  const struct igmp *message)
{
	__u32 end = at->transport + packet->payload, destination = bpf_ntohl((__be32)packet->destination.low);
	__u32 options = at->transport - at->network - sizeof(struct iphdr);
	const __be32 *alert;

	if (packet->fragment || packet->hop_limit != 1 || !is_exact_frame(hook, context->direction, at->network, end))
		return false;
	alert = bytes_at(hook, at->transport - options, sizeof(*alert));
	if (options && (options != sizeof(*alert) || !alert || *alert != bpf_htonl(ROUTER_ALERT)))
		return false;
	if (is_igmp_query(message))
		return is_exact_query(hook, packet, at, sizeof(*message), sizeof(__be32));
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
	if (!ingress && is_igmp_query(message))
		return REASON_ROUTER;
	if (!is_exact_igmp(hook, context, packet, at, message))
		return NOT_NEIGHBOUR;
	if (ingress)
		return is_multicast_v4((__be32)packet->destination.low) ? REASON_NEIGHBOUR : NOT_NEIGHBOUR;
	/* Snooping bridges accept reports of hosts that have no address yet (RFC 4541 2.1.1). */
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

/* Of a whole packet: RFC 1812 4.3.2.3, RFC 4443 2.4. */
#define ERROR_MAX_V4 576
#define ERROR_MAX_V6 1280

/*
 * An ICMP error from the pod. It passes at the other end as part of the flow that it quotes, from whichever source, since any router may send it. So
 * the quoted packet must have gone to the pod, or to what it forwards for: `sources`. Errors are not fragmented: the rest of one would not be seen.
 */
static __always_inline int verdict_of_error(hook_context *hook, const struct context *context,
					    const struct packet *packet, const struct place *at)
{
	__u32 quote = at->transport + sizeof(struct icmp_header), bytes = at->transport - at->network + packet->payload;
	const struct ipv6hdr *v6;
	const struct iphdr *v4;

	if (!guarded(context))
		return NOT_NEIGHBOUR;
	if (packet->fragment || bytes > (is_v6(packet) ? ERROR_MAX_V6 : ERROR_MAX_V4))
		return REASON_MALFORMED;
	if (!is_v6(packet)) {
		v4 = bytes_at(hook, quote, sizeof(*v4));
		if (!v4 || packet->payload < sizeof(struct icmp_header) + sizeof(*v4))
			return REASON_MALFORMED;
		return owns_v4(context, v4->daddr) ? NOT_NEIGHBOUR : REASON_ROUTER;
	}
	v6 = bytes_at(hook, quote, sizeof(*v6));
	if (!v6 || packet->payload < sizeof(struct icmp_header) + sizeof(*v6))
		return REASON_MALFORMED;
	return owns_v6(context, (const void *)&v6->daddr) ? NOT_NEIGHBOUR : REASON_ROUTER;
}

static __always_inline int verdict_of_icmpv6(hook_context *hook, const struct context *context,
					     const struct packet *packet, const struct place *at)
{
	__u8 type = packet->icmp_type;

	if (context->direction == DIRECTION_INGRESS) {
		if (is_neighbour_discovery(packet))
			return REASON_NEIGHBOUR;
		return is_listener(type) && is_exact_listener(hook, context, packet, at) &&
				       (is_link_local(&packet->source) || is_unspecified(&packet->source)) &&
				       is_multicast(&packet->destination)
			       ? REASON_NEIGHBOUR
			       : NOT_NEIGHBOUR;
	}
	if (is_from_router(type))
		return REASON_ROUTER;
	if (type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT)
		return verdict_of_discovery(hook, context, packet, at);
	if (is_listener(type) && is_exact_listener(hook, context, packet, at) && owns_listener(context, packet))
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

/* Whether it may be one of the packets that this file handles. */
static __always_inline bool is_of_link(const struct packet *packet)
{
	if (is_v6(packet))
		return packet->protocol == IPPROTO_ICMPV6;
	return packet->protocol == IPPROTO_IGMP || packet->protocol == IPPROTO_ICMP;
}

/*
 * ARP from the pod, already parsed: a request or reply from an address of its own. A probe (RFC 5227) has no sender address and is
 * about its target.
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
	if (!is_exact_frame(hook, context->direction, network, network + sizeof(*header)))
		return REASON_MALFORMED;
	if (!sender && header->operation != bpf_htons(ARP_REQUEST))
		return REASON_MALFORMED;
	return neighbour_unless_over_rate(context);
}

#endif
