/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a parsed packet: fragments, conntrack, policy. The same for every hook.
 */
#ifndef WEIR_PACKET_VERDICT_H
#define WEIR_PACKET_VERDICT_H

#include "conntrack.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "policy.h"
#include "percpu_cache.h"
#include "counters.h"
#include "anti_spoofing.h"

/*
 * Internal, never counted: a TCP segment that opens no connection and belongs to no known flow, in a direction in which the
 * endpoint is isolated. See midstream.h.
 */
#define REASON_MIDSTREAM ((enum reason)(REASONS - 1))

#define QUOTED_MIN 8 /* bytes of the transport header that every ICMP error quotes (RFC 792, RFC 4443 2.4) */

static __always_inline bool passes(enum reason reason)
{
	return reason < REASON_DROPS;
}

#define FLOW_EXEMPT (FLOW_NODE | FLOW_OWN)

/* Whether no policy applies to the packet: this node generated it, or the pod did, which cannot block itself. */
static __always_inline bool exempt(const struct context *context)
{
	return context->local || context->returned;
}

static __always_inline enum reason exempt_reason(const struct context *context)
{
	return context->local ? REASON_NODE : REASON_OWN;
}

/* Whether this generation of the policy has allowed the flow, or no policy applies to it. */
static __always_inline bool is_current(const struct old_flow *flow, __u32 generation)
{
	return flow->generation == generation || flow->state & FLOW_EXEMPT;
}

/*
 * Judges a packet that belongs to no flow allowed by this generation. Without a flow, the policy of the packet's own direction
 * judges it, and it opens one. A flow of an older generation is judged by the policy of the side that opened it. If that denies it,
 * the other side may still send what its own direction allows, but this opens no flow: the entry keeps its opener and its
 * old generation, so that every packet is judged and nothing that another CPU writes can revive the flow.
 */
static __always_inline enum reason admit(const struct context *context, const struct packet *packet,
					 const struct flow_key *key, struct old_flow *flow)
{
	enum direction own = context->direction & 1, side = flow ? flow->opener & 1 : own;
	enum reason reason = REASON_DENIED;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < DIRECTIONS; i++) {
		reason = judge(context, packet, side);
		if (passes(reason) || side == own)
			break;
		side = own;
	}
	if (!flow) {
		if (passes(reason))
			flow_create(context, packet, key, (struct old_flow){ .opener = own });
		return reason;
	}
	if (!passes(reason))
		return REASON_REVOKED;
	if (side != (flow->opener & 1)) {
		flow_entomb(context, flow);
		return reason;
	}
	flow_refresh(context, packet, flow);
	return reason == REASON_AUDIT ? reason : REASON_ESTABLISHED;
}

/*
 * Makes the flow of an exempt packet exempt, so that the replies to it pass too (kubelet's probes; what the pod sends to itself through
 * a Service). False for a flow that the pod opened with a packet that did not come back.
 */
static __always_inline bool adopt(const struct context *context, const struct packet *packet,
				  const struct flow_key *key, struct old_flow *flow)
{
	__u8 state = context->local ? FLOW_NODE : FLOW_OWN;

	if (flow && flow->opener == DIRECTION_EGRESS)
		return false;
	if (flow) {
		flow->state |= state;
		flow_refresh(context, packet, flow);
	} else if (!is_midstream(packet) && !is_echo_reply(packet)) {
		flow_create(context, packet, key, (struct old_flow){ .opener = DIRECTION_INGRESS, .state = state });
	}
	return true;
}

/* Parses the packet that an ICMP error quotes; `at` is the offset of the ICMP header in the frame. */
static __always_inline bool parse_quoted(struct cursor *cursor, struct packet *quoted, __u32 at, bool v6)
{
	cursor->at = (void *)(long)cursor->context->data + (at & EXTENSIONS_MASK) + sizeof(struct icmp_header);
	return (v6 ? parse_ipv6(cursor, quoted) : parse_ipv4(cursor, quoted)) == PARSED_IP;
}

/*
 * Whether the outer packet goes to the sender of the quoted one: to anyone else it could carry arbitrary data. And whether it
 * contains the quote, up to `end` in the frame: bytes beyond its own length are padding.
 */
static __always_inline bool goes_back(const struct cursor *outer, const struct packet *quoted, __u32 end)
{
	const struct ipv6hdr *v6 = outer->at;
	const struct iphdr *v4 = outer->at;
	const struct address_v6 *destination = (const void *)&v6->daddr;

	if (!is_v6(quoted))
		return ensure(outer, sizeof(*v4)) && v4->daddr == (__be32)quoted->source.low &&
		       end <= offset_of(outer) + bpf_ntohs(v4->tot_len);
	return ensure(outer, sizeof(*v6)) && equal_addresses(destination, &quoted->source) &&
	       end <= offset_of(outer) + sizeof(*v6) + bpf_ntohs(v6->payload_len);
}

/*
 * Whether an ICMP error is about a flow that this generation of the policy allows, and goes back to the sender of the packet
 * that it quotes. Path-MTU discovery depends on it. `at` is the offset of the ICMP header in the frame. A global function, like
 * walk_extensions.
 */
__noinline int is_related(hook_context *hook, __u32 at, __u32 direction)
{
	struct context context;
	struct cursor outer = cursor_at_start(hook), cursor = outer;
	struct scratch_space *memory = scratch_of_cpu();
	struct packet *quoted;
	struct old_flow *flow;
	__be16 protocol;
	bool v6;

	if (!memory || !parse_ethernet(&outer, &protocol) || !context_of(&context, hook, direction & 1) ||
	    !context.endpoint)
		return 0;
	quoted = &memory->quoted;
	*quoted = (struct packet){ .quoted = true };
	v6 = protocol == bpf_htons(ETH_P_IPV6);
	if (!parse_quoted(&cursor, quoted, at, v6) || !goes_back(&outer, quoted, offset_of(&cursor) + QUOTED_MIN))
		return 0;
	flow_key_of(&memory->key, &context, quoted, direction ^ 1);
	flow = has_flow(quoted) ? flow_find(quoted, &memory->key) : NULL;
	return flow && is_current(flow, context.generation);
}

/* A packet that opens a flow, whether or not there is an older one: a denied one costs no flow look-up. */
static __always_inline enum reason open_flow(const struct context *context, const struct packet *packet,
					     struct flow_key *key)
{
	enum reason reason = judge(context, packet, context->direction);

	if (!passes(reason))
		return reason;
	flow_key_of(key, context, packet, context->direction);
	flow_create(context, packet, key, (struct old_flow){ .opener = context->direction });
	cache_flow(context, packet, key, 0);
	return reason;
}

/* How a packet relates to the known flows. */
static __always_inline enum reason decide_flow(const struct context *context, const struct packet *packet,
					       struct flow_key *key)
{
	bool steady = is_steady(packet);
	struct old_flow *flow = NULL;
	enum reason reason;

	if (!steady && is_opening(packet) && !exempt(context))
		return open_flow(context, packet, key);
	flow_key_of(key, context, packet, context->direction);
	if (steady && !exempt(context) && is_cached(context, packet, key))
		return REASON_ESTABLISHED;
	if (!is_opening(packet))
		flow = flow_find(packet, key);
	if (!steady)
		cache_flow(context, packet, key, 0);
	if (exempt(context) && adopt(context, packet, key, flow))
		return exempt_reason(context);
	/* Only the node or the pod itself may continue a flow that it opened. */
	if (flow && flow->state & FLOW_EXEMPT && context->direction == DIRECTION_INGRESS)
		flow = NULL;
	if (!flow && is_midstream(packet) && !exempt(context))
		return isolated(context, context->direction) ? REASON_MIDSTREAM : REASON_NOT_ISOLATED;
	/* Otherwise a reply that outlives its flow would let the other side send more requests. */
	if (!flow && is_echo_reply(packet) && !exempt(context))
		return judge(context, packet, context->direction);
	if (flow && is_current(flow, context->generation)) {
		flow_refresh(context, packet, flow);
		if (steady && !exempt(context) && flow->state == (FLOW_REPLIED | FLOW_CONFIRMED))
			cache_flow(context, packet, key, now());
		reason = REASON_ESTABLISHED;
	} else {
		reason = admit(context, packet, key, flow);
	}
	return exempt(context) ? exempt_reason(context) : reason;
}

/* Decides about an IP packet of an endpoint that is isolated in at least one direction. `key` is memory for a key. */
static __always_inline enum reason decide(const struct context *context, struct packet *packet, struct flow_key *key)
{
	enum reason reason;

	if (is_later_fragment(packet)) {
		if (exempt(context))
			return exempt_reason(context);
		if (!isolated(context, context->direction))
			return REASON_NOT_ISOLATED;
		if (!fragment_recall(context, packet))
			return unless_audited(context, REASON_FRAGMENT);
	}
	if (has_flow(packet))
		reason = decide_flow(context, packet, key);
	else
		reason = exempt(context) ? exempt_reason(context) : judge(context, packet, context->direction);
	/* Only if later fragments need it: packets that are denied, or pass anyway, take no entries from others. */
	if (is_first_fragment(packet) && passes(reason) && !exempt(context) && isolated(context, context->direction))
		fragment_remember(context, packet);
	return reason;
}

#endif
