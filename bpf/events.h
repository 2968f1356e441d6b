/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports packets to user space through a ring buffer: dropped ones and, on request, the first packets of
 * new flows. The rate is limited for each endpoint, direction and reason, and for the node, of both apart, so that a
 * pod cannot overload user space. The counters include all packets.
 */
#ifndef WEIR_EVENTS_H
#define WEIR_EVENTS_H

#include "conntrack.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "packet_verdict.h"
#include "parse.h"
#include "policy.h"
#include "counters.h"

static __always_inline struct event_bucket *event_bucket(__u32 endpoint, enum direction direction, enum reason reason)
{
	__u32 place = (endpoint * DIRECTIONS + direction) * REASONS + reason;

	return bpf_map_lookup_elem(&event_buckets, &place);
}

/*
 * The node's own buckets, one for new flows and one for all else: neither uses up what the other may report. No endpoint has id
 * 0, and no packet that passes is reported without an endpoint.
 */
static __always_inline struct event_bucket *event_bucket_of_node(enum reason reason)
{
	return event_bucket(0, DIRECTION_INGRESS, reason == REASON_POLICY ? REASON_ESTABLISHED : REASON_NOT_ISOLATED);
}

static __always_inline bool within_limit(const struct event_bucket *bucket, __u32 limit)
{
	return bucket->used < limit || now() >= bucket->ends;
}

/* Takes one token of this second. CPUs that begin a second at once may take a few more. */
static __always_inline bool count_event(struct event_bucket *bucket, __u32 limit, __u32 ticks_per_second)
{
	__u64 at = now();

	if (at >= bucket->ends) {
		bucket->ends = at + ticks_per_second;
		bucket->used = 0;
	}
	return __sync_fetch_and_add(&bucket->used, 1) < limit;
}

/* What is reported: drops, what only audit mode passes, and new flows. */
#define REASONS_REPORTED (~0U << REASON_DROPS | 1U << REASON_POLICY | 1U << REASON_AUDIT)

/* Whether the packet is to be reported; if so, takes its token. */
static __always_inline bool is_reported(const struct context *context, enum reason reason)
{
	struct event_bucket *own, *all;

	if (!(REASONS_REPORTED >> (reason & (REASONS - 1)) & 1))
		return false;
	all = event_bucket_of_node(reason);
	if (!all || (reason == REASON_POLICY && !all->flows) || !within_limit(all, EVENTS_NODE))
		return false;
	own = event_bucket(context->endpoint ? context->endpoint->id : 0, context->direction & 1, reason);
	if (!own || !within_limit(own, EVENTS_EACH))
		return false;
	return count_event(own, EVENTS_EACH, context->node->ticks_per_second) &&
	       count_event(all, EVENTS_NODE, context->node->ticks_per_second);
}

/*
 * Which side's policy judged the packet: the side that opened its flow, if that policy let it pass or none did; otherwise the
 * packet's own direction.
 */
static __always_inline enum direction judged_opener(const struct context *context, const struct packet *packet,
						    enum reason reason)
{
	struct flow flow;

	if (!has_flow(packet) || is_opening(packet))
		return context->direction;
	if (!flow_find(context, packet, context->direction, &flow) || flow_state(flow.seen) & FLOW_NODE)
		return context->direction;
	return reason == REASON_REVOKED || flow_stamp(flow.seen) == (context->generation & FLOW_STAMP_MASK)
		       ? flow_opener(flow.seen)
		       : context->direction;
}

static __always_inline __u32 remote_identity(const struct context *context, const struct packet *packet)
{
	const struct address_v6 *remote =
		context->direction == DIRECTION_EGRESS ? &packet->destination : &packet->source;

	return is_v6(packet) ? find_identity_v6(remote->high, remote->low, context->generation)
			     : find_identity_v4((__be32)remote->low, context->generation);
}

/*
 * Writes the event of a packet; `what` is its reason and, in the lowest bit, its direction. A global function, like walk_extensions.
 * The frame is already as contiguous as possible: computing the verdict did that.
 */
__noinline int tell(hook_context *hook, __u32 what, __u32 endpoint, __u32 generation)
{
	__u32 direction = what & 1, reason = what >> 1 & (REASONS - 1);
	struct context context = { .ifindex = interface_of(hook), .direction = direction, .generation = generation };
	struct event_bucket *bucket = event_bucket(endpoint, direction, reason);
	struct cursor cursor = cursor_at_start(hook);
	enum direction opener = direction;
	__u32 identity = 0, bytes = hook_bytes(hook);
	struct scratch_space *memory = scratch_of_cpu();
	struct packet *packet;
	struct event *event;
	__u32 zero = 0;

	context.node = bpf_map_lookup_elem(&node, &zero);
	if (!bucket || !memory || !context.node)
		return 0;
	packet = &memory->packet;
	if (parse_again(hook)) {
		if (is_later_fragment(packet))
			fragment_recall(&context, packet);
		context.endpoint = endpoint_of(context.ifindex);
		if (context.endpoint)
			opener = judged_opener(&context, packet, reason);
		identity = remote_identity(&context, packet);
	} else {
		*packet = (struct packet){};
		parse_source(&cursor, packet);
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&bucket->lost, 1);
		return 0;
	}
	*event = (struct event){
		.time = bpf_ktime_get_ns(),
		.source = packet->source,
		.destination = packet->destination,
		.ifindex = context.ifindex,
		.endpoint = endpoint,
		.generation = generation,
		.identity = identity,
		.bytes = bytes,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.direction = direction,
		.reason = reason,
		.protocol = packet->protocol,
		.family = packet->family,
		.opener = opener,
		.icmp_type = packet->icmp_type,
		.icmp_code = packet->icmp_code,
		.opens = is_opening(packet),
	};
	bpf_ringbuf_submit(event, 0);
	__sync_fetch_and_add(&bucket->written, 1);
	return 0;
}

#endif
