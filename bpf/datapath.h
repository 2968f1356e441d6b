/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a frame to its verdict, for any hook. The program that includes this defines hook_context, the type of its
 * argument, and before the inclusion:
 *   interface_of       the interface that the program is attached to
 *   hook_bytes         the frame's length
 *   hook_counted       the same for the counters, which may omit padding in further parts
 *   hook_ipv6          whether the frame's type is IPv6's
 *   hook_linearise     makes the first bytes contiguous; false if it cannot
 *   hook_load          copies bytes of the frame, whether or not they are contiguous; false if there are fewer
 *   hook_segment       bytes of each part of what will be several packets, else 0
 *   hook_local         whether this node itself generated the packet: no ingress interface, and no socket of another network namespace
 *   hook_returned      whether it leaves by its ingress interface
 *   hook_owned         whether a socket of this node owns it
 *   hook_checksum      whether a checksum is still to be written: where the sum starts in the frame, and where it goes
 *   hook_ct_lookup     the kernel's conntrack look-up function, if the program is built with CONNTRACK_EVIDENCE
 *   hook_conntrack     then perhaps the entry that conntrack has attached to the packet
 */
#ifndef WEIR_DATAPATH_H
#define WEIR_DATAPATH_H

#include "conntrack.h"
#include "dns.h"
#include "packet_verdict.h"
#include "endpoint.h"
#include "events.h"
#ifdef CONNTRACK_EVIDENCE
#include "evidence.h"
#endif
#include "layout.h"
#include "maps.h"
#include "midstream.h"
#include "names.h"
#include "link_local.h"
#include "parse.h"
#include "fast_path.h"
#include "counters.h"
#include "anti_spoofing.h"

#define HEADERS_MAX 512 /* bytes made contiguous if the headers are not in the linear part */

/* Whether headers may continue in the non-linear part. */
static __always_inline bool is_partial(hook_context *hook)
{
	__u32 linear = hook->data_end - hook->data;

	return linear < hook_bytes(hook) && linear < HEADERS_MAX;
}

/*
 * Whether bytes that must be read may be there: the packet that an ICMP error quotes, and the whole message of neighbour
 * discovery, MLD and IGMP, which would otherwise be judged by policy alone.
 */
static __always_inline bool is_cut(hook_context *hook, enum parsed parsed, const struct packet *packet)
{
	return is_partial(hook) && (parsed != PARSED_IP || is_icmp_error(packet) ||
				    packet->protocol == IPPROTO_ICMPV6 || packet->protocol == IPPROTO_IGMP);
}

/* Parses the linear part, as parse_frame(); if the headers were not all in it, makes them linear and parses again. */
static __always_inline int parse_twice(hook_context *hook, const struct packet *packet)
{
	__u32 bytes = hook_bytes(hook);
	int parsed = parse_frame(hook);

	if (!is_cut(hook, parsed & PARSED_MASK, packet))
		return parsed;
	if (!hook_linearise(hook, bytes < HEADERS_MAX ? bytes : HEADERS_MAX))
		return PARSED_MALFORMED;
	return parse_frame(hook);
}

#define READ_PASSED -1 /* not a reason: the packet has been read, and is judged next */

#define UDP_CHECKSUM_AT 6
#define TCP_CHECKSUM_AT 16
#define SCTP_CHECKSUM_AT 8

/*
 * From the pod: whether a checksum that is still to be written would change what is judged here, behind the hook. A raw socket of the pod
 * chooses where it goes (PACKET_VNET_HDR). In the payload, it may be that of a tunnel's inner packet.
 */
static __always_inline bool is_rewritten_later(hook_context *hook, const struct context *context,
					       const struct packet *packet, __u32 transport)
{
	__u32 start, field;

	if (context->direction != DIRECTION_EGRESS || !hook_checksum(hook, &start, &field))
		return false;
	switch (packet->protocol) {
	case IPPROTO_TCP:
		return start != transport || field != transport + TCP_CHECKSUM_AT;
	case IPPROTO_UDP:
		return (start != transport || field != transport + UDP_CHECKSUM_AT) &&
		       field < transport + UDP_HEADER_BYTES;
	case IPPROTO_SCTP:
		return start != transport || field != transport + SCTP_CHECKSUM_AT;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
	case IPPROTO_IGMP:
		return true;
	default:
		return field < transport;
	}
}

/* An IP packet, before policy. An endpoint that is isolated in neither direction drops only spoofed addresses and tunnels to nodes. */
static __always_inline int verdict_before_policy(struct context *context, const struct packet *packet)
{
	if (is_local(context) && !generated_here(context, packet, is_never_fragmented(packet)))
		context->exempt = 0;
	if (spoofed(context, packet))
		return REASON_SPOOFED;
	if (encapsulated(context, packet))
		return REASON_ENCAPSULATED;
	if (!tracked(context))
		return is_local(context) ? REASON_NODE : REASON_NOT_ISOLATED;
	return READ_PASSED;
}

static __always_inline int verdict_of(hook_context *hook, struct context *context, const struct packet *packet)
{
	int reason = verdict_before_policy(context, packet);

	return reason == READ_PASSED ? decide_plain(hook, context, packet) : reason;
}

/*
 * The verdict on link-local control traffic: an IP packet in the CPU's scratch, whose transport header is `transport` bytes into the
 * frame; or NOT_NEIGHBOUR.
 */
__noinline int verdict_of_link(hook_context *hook, view_t view, __u32 transport)
{
	struct cursor cursor = cursor_at_start(hook);
	struct place at = { .transport = transport };
	struct scratch_space *memory = scratch_of_cpu();
	struct packet *packet;
	struct context context;
	__be16 protocol;

	if (!memory || !parse_ethernet(&cursor, &protocol) || !context_in(&context, hook, view) || !context.endpoint)
		return NOT_NEIGHBOUR;
	packet = &memory->packet;
	at.network = offset_of(&cursor);
	if (context.direction == DIRECTION_EGRESS && has_error_type(packet))
		return verdict_of_error(hook, &context, packet, &at);
	if (is_v6(packet))
		return verdict_of_icmpv6(hook, &context, packet, &at);
	return packet->protocol == IPPROTO_ICMP ? verdict_of_icmp(&context, packet)
						: verdict_of_igmp(hook, &context, packet, &at);
}

static __always_inline bool has_checksum_later(hook_context *hook, const struct context *context)
{
	__u32 start, field;

	return context->direction == DIRECTION_EGRESS && hook_checksum(hook, &start, &field);
}

/*
 * ARP, and packets that cannot be parsed: these pass if no policy isolates the endpoint, and from this node itself. From a guarded pod
 * they never pass, since others may be able to parse them, and find a spoofed address in them.
 */
static __always_inline enum reason verdict_without(hook_context *hook, const struct context *context,
						   enum parsed parsed)
{
	struct cursor cursor = cursor_at_start(hook);
	struct packet packet = {};
	bool whole = parse_source(&cursor, &packet);
	enum reason reason;

	/* The part that could not be made linear may hold a spoofed address, and a checksum may be written over one. */
	if ((is_partial(hook) || has_checksum_later(hook, context)) && guarded(context))
		return REASON_MALFORMED;
	/* The kernel removes any number of tags with VLAN id 0, and continues with what follows them. */
	if (packet.family == FAMILY_HIDDEN && guarded(context))
		return REASON_UNSUPPORTED;
	if ((packet.family == FAMILY_IPV4 || packet.family == FAMILY_IPV6) && spoofed(context, &packet))
		return REASON_SPOOFED;
	if (parsed == PARSED_ARP && whole && context->direction == DIRECTION_INGRESS)
		return REASON_NEIGHBOUR;
	if (parsed == PARSED_ARP && whole) {
		reason = verdict_of_arp(hook, context, &packet, &cursor);
		if (reason != REASON_MALFORMED)
			return reason;
	}
	if (generated_here(context, &packet, false))
		return REASON_NODE;
	if (guarded(context))
		return parsed == PARSED_UNSUPPORTED ? REASON_UNSUPPORTED : REASON_MALFORMED;
	if (!isolated(context, context->direction))
		return REASON_NOT_ISOLATED;
	return unless_audited(context, parsed == PARSED_UNSUPPORTED ? REASON_UNSUPPORTED : REASON_MALFORMED);
}

/*
 * The reason for a frame that is not plain and not an IP packet, or cannot be parsed. Each step for such a packet is a global function, so that the
 * verifier checks it once.
 */
__noinline int refuse_other(hook_context *hook, view_t view, __u32 parsed)
{
	struct context context;

	if (!context_in(&context, hook, view) || !context.endpoint)
		return REASON_INCOMPLETE;
	return verdict_without(hook, &context, parsed & PARSED_MASK);
}

/*
 * The reason for the packet in the CPU's scratch, if it passes or is dropped before policy; otherwise how it relates to the known flows: a
 * reason, perhaps with OPENS, or REASON_JUDGE.
 */
__noinline int match_other(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;
	int reason;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint)
		return REASON_INCOMPLETE;
	reason = verdict_before_policy(&context, &memory->packet);
	return reason == READ_PASSED ? match_packet(hook, &context, &memory->packet) : reason;
}

#ifdef CONNTRACK_EVIDENCE
/* Whether the packet that match_other() has passed on is of a flow to a Service that leads to a denied backend. */
__noinline int leads_other_astray(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint)
		return 1;
	return leads_packet_astray(hook, &context, &memory->packet);
}
#else
static __always_inline int leads_other_astray(__attribute__((unused)) hook_context *hook,
					      __attribute__((unused)) view_t view)
{
	return 0;
}
#endif

/* Judges the packet that match_other() has passed on: a reason, perhaps with OPENS. */
__noinline int judge_other(hook_context *hook, view_t view, __u32 astray)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint)
		return REASON_INCOMPLETE;
	if (is_local(&context) && !generated_here(&context, &memory->packet, is_never_fragmented(&memory->packet)))
		context.exempt = 0;
	return judge_packet(hook, &context, &memory->packet, astray);
}

/* Steps of their own, one after the other: each has the stack to itself. */
static __always_inline int match_and_judge(hook_context *hook, view_t view)
{
	int found = match_other(hook, view);

	return found == REASON_JUDGE ? judge_other(hook, view, leads_other_astray(hook, view)) : found;
}

static __always_inline int verdict_of_other(hook_context *hook, const struct context *context)
{
	struct scratch_space *memory = scratch_of_cpu();
	__u32 transport;
	int found;

	if (!memory)
		return REASON_INCOMPLETE;
	found = parse_twice(hook, &memory->packet);
	if ((found & PARSED_MASK) != PARSED_IP)
		return refuse_other(hook, view_of(context), found) & (REASONS - 1);
	transport = found >> PARSED_BITS & EXTENSIONS_MASK;
	if (is_rewritten_later(hook, context, &memory->packet, transport))
		return REASON_MALFORMED;
	if (misdirected(hook, context, &memory->packet))
		return REASON_MISDIRECTED;
	if (is_of_link(&memory->packet)) {
		found = verdict_of_link(hook, view_of(context), transport);
		if (found != NOT_NEIGHBOUR)
			return found & (REASONS - 1);
	}
	found = match_and_judge(hook, view_of(context));
	if ((found == REASON_DENIED || found == REASON_AUDIT) && is_icmp_error(&memory->packet) &&
	    is_related(hook, transport, view_of(context)))
		return REASON_RELATED;
	return found & (OPENS | (REASONS - 1));
}

/* Whether a packet to the pod can be dropped at all, by policy or as misdirected. */
static __always_inline bool is_judged(const struct context *context)
{
	return context->direction == DIRECTION_EGRESS || context->endpoint->bridge || tracked(context);
}

static __always_inline int verdict_of_plain(hook_context *hook, struct context *context, const struct packet *packet,
					    __u32 transport)
{
	if (is_rewritten_later(hook, context, packet, transport))
		return REASON_MALFORMED;
	return misdirected(hook, context, packet) ? REASON_MISDIRECTED : verdict_of(hook, context, packet);
}

/* A plain packet's family is a constant here: the compiler specializes the code for each. */
static __always_inline int verdict(hook_context *hook, struct context *context)
{
	struct cursor cursor = cursor_at_start(hook);
	struct packet v4 = {}, v6 = {};
	__be16 protocol;

	if (context->direction == DIRECTION_EGRESS && !has_own_hardware(hook, context))
		return REASON_SPOOFED;
	context->plain = true;
	if (parse_ethernet(&cursor, &protocol)) {
		if (!is_judged(context) && is_transport(context, &cursor, protocol))
			return is_local(context) ? REASON_NODE : REASON_NOT_ISOLATED;
		if (protocol == bpf_htons(ETH_P_IP) && parse_plain_v4(&cursor, &v4))
			return verdict_of_plain(hook, context, &v4, offset_of(&cursor) + sizeof(struct iphdr));
		if (protocol == bpf_htons(ETH_P_IPV6) && parse_plain_v6(&cursor, &v6))
			return verdict_of_plain(hook, context, &v6, offset_of(&cursor) + sizeof(struct ipv6hdr));
	}
	context->plain = false;
	return verdict_of_other(hook, context);
}

/*
 * The rest about a segment of no known flow: a reason, perhaps with OPENS. Without the pod's network namespace there is no evidence, and the search
 * would double the segment's cost.
 */
static __always_inline int verdict_midstream(hook_context *hook, const struct context *context)
{
#ifdef CONNTRACK_EVIDENCE
	int found;

	if (context->endpoint->netns && find_evidence(hook, view_of(context)) && flow_insert(context)) {
		found = match_and_judge(hook, view_of(context)) & (OPENS | (REASONS - 1));
		if (found != REASON_MIDSTREAM)
			return found;
	}
#endif
	return judge_midstream(hook, view_of(context)) & (OPENS | (REASONS - 1));
}

/* Inserts the flow of a packet that passes for this reason. Without an entry its replies would be dropped later, and nobody would see why. */
static __always_inline enum reason open_flow(const struct context *context, enum reason reason)
{
	if (flow_insert(context) || reason == REASON_NODE || reason == REASON_OWN)
		return reason;
	return unless_audited(context, REASON_TABLE_FULL);
}

static __always_inline void report(hook_context *hook, const struct context *context, enum reason reason)
{
	if (is_reported(context, reason))
		tell(hook, reason << 1 | (context->direction & 1), context->endpoint ? context->endpoint->id : 0,
		     context->generation);
}

static __always_inline void count_frame(hook_context *hook, const struct context *context, enum reason reason)
{
	count(context, reason, hook_ipv6(hook) ? COUNTED_IPV6 : COUNTED_IPV4, hook_counted(hook));
}

/* The reason in the end for a packet that is not simply part of a flow, or of an endpoint that is not isolated. Reports it. */
static __always_inline enum reason settle(hook_context *hook, const struct context *context, int found)
{
	enum reason reason;

	if (found == REASON_MIDSTREAM)
		found = verdict_midstream(hook, context);
	found = with_names(hook, context, found);
	reason = found & (REASONS - 1);
	if (found & OPENS)
		reason = open_flow(context, reason);
	report(hook, context, reason);
	return reason;
}

/* Decides, counts and reports. */
static __always_inline bool lets_pass(hook_context *hook, enum direction direction)
{
	struct context context;
	int found;

	if (!context_of(&context, hook, direction))
		return false;
	if (!context.endpoint) {
		count_frame(hook, &context, REASON_UNKNOWN);
		report(hook, &context, REASON_UNKNOWN);
		return false;
	}
	found = verdict(hook, &context);
	/* The first two reasons, which most packets have, need nothing else. */
	if ((__u32)found > REASON_ESTABLISHED)
		found = settle(hook, &context, found);
	count_frame(hook, &context, found);
	if (!passes(found))
		return false;
	learn_names(hook, &context);
	return true;
}

#endif
