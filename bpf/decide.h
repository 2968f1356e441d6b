/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Life of a parsed packet: spoof guard, fragments, conntrack, policy. The same for every hook.
 */
#ifndef WEIR_DECIDE_H
#define WEIR_DECIDE_H

#include "conntrack.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "policy.h"
#include "report.h"

/* fe80::/10 in network order: never a pod's address as policy sees it, but IPv6 itself speaks from it. */
static __always_inline bool is_link_local(const struct address_v6 *address)
{
	return (address->high & bpf_cpu_to_be64(0xffc0000000000000ULL)) == bpf_cpu_to_be64(0xfe80000000000000ULL);
}

/* Whether a packet from the pod has an address that is not its own. An endpoint without known addresses is not guarded. */
static __always_inline bool spoofed(const struct context *context, const struct packet *packet, bool v6)
{
	const struct endpoint *endpoint = context->endpoint;

	if (context->direction != DIRECTION_EGRESS)
		return false;
	if (!endpoint->addresses_v4_used && !endpoint->addresses_v6_used)
		return false;
	/* Unused places are zero, and so is no valid source. */
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < ENDPOINT_ADDRESSES; i++) {
		if (!v6 && i < endpoint->addresses_v4_used && endpoint->addresses_v4[i] == (__be32)packet->source.low)
			return false;
		if (v6 && i < endpoint->addresses_v6_used && endpoint->addresses_v6[i].low == packet->source.low &&
		    endpoint->addresses_v6[i].high == packet->source.high)
			return false;
	}
	return !(v6 && is_link_local(&packet->source));
}

static __always_inline bool passes(enum reason reason)
{
	return reason < REASON_DROPS;
}

/* Judges a flow by the policy that its opener's side of the endpoint is subject to. */
static __always_inline enum reason judge_opened_by(const struct context *context, const struct packet *packet,
						   enum direction opener, bool v6)
{
	bool forward = opener == context->direction;
	__be16 port = forward ? packet->destination_port : packet->source_port;
	const struct address_v6 *remote =
		context->direction == DIRECTION_EGRESS ? &packet->destination : &packet->source;

	return judge(context, opener, remote, place_of(packet->protocol, port), v6);
}

/* A packet of a known flow. A policy that has changed since is asked once; a revoked flow stays revoked until the next. */
static __always_inline enum reason follow(const struct context *context, const struct packet *packet, struct flow *flow,
					  bool v6)
{
	if (flow->generation != context->generation) {
		bool allowed = flow->state & FLOW_NODE || passes(judge_opened_by(context, packet, flow->opener, v6));

		if (allowed && flow->state & FLOW_REVOKED)
			flow->state &= ~FLOW_REVOKED;
		if (!allowed)
			flow->state |= FLOW_REVOKED;
		flow->generation = context->generation;
	}
	if (flow->state & FLOW_REVOKED)
		return REASON_REVOKED;
	flow_refresh(context, packet, flow);
	return REASON_ESTABLISHED;
}

/* A packet that no flow is known for: judged by the policy of whoever may have opened its flow. */
static __always_inline enum reason admit(const struct context *context, const struct packet *packet,
					 const struct flow_key *key, bool v6)
{
	__u32 candidates = openers(context, packet);
	enum direction here = context->direction, back = here ^ 1;
	enum reason reason = REASON_DENIED;

	if (candidates & 1u << here) {
		reason = judge_opened_by(context, packet, here, v6);
		if (passes(reason)) {
			flow_create(context, packet, key, here, 0, v6);
			return reason;
		}
	}
	if (candidates & 1u << back) {
		enum reason answer = judge_opened_by(context, packet, back, v6);

		if (passes(answer)) {
			flow_create(context, packet, key, back, 0, v6);
			return answer;
		}
	}
	return reason;
}

/* A packet that this node itself generated: it passes, and so do the answers to it (kubelet's probes). */
static __always_inline enum reason from_node(const struct context *context, const struct packet *packet,
					     const struct flow_key *key, struct flow *flow, bool v6)
{
	if (flow && flow->opener == DIRECTION_INGRESS) {
		flow->state = (flow->state | FLOW_NODE) & ~FLOW_REVOKED;
		flow->generation = context->generation;
		flow_refresh(context, packet, flow);
	} else if (flow) {
		follow(context, packet, flow, v6);
	} else if (openers(context, packet) & 1u << DIRECTION_INGRESS) {
		flow_create(context, packet, key, DIRECTION_INGRESS, FLOW_NODE, v6);
	}
	return REASON_NODE;
}

/*
 * Whether an ICMP error is about a flow that is allowed: it quotes a packet that went the other way. Path-MTU discovery
 * depends on it. `offset` is where the ICMP header stands in the frame. A global function, as walk_extensions.
 */
__noinline int is_related(hook_context *hook, __u32 offset, __u32 direction, __u32 v6)
{
	struct context context = { .ifindex = hook->ifindex };
	struct packet quoted = { .quoted = true };
	struct cursor cursor = {
		.context = hook,
		.at = (void *)(long)hook->data + (offset & EXTENSIONS_MASK) + sizeof(struct icmp_header),
		.end = (void *)(long)hook->data_end,
	};
	struct flow_key key = {};
	struct flow *flow;

	if (v6 ? parse_ipv6(&cursor, &quoted) != PARSED_IPV6 : parse_ipv4(&cursor, &quoted) != PARSED_IPV4)
		return 0;
	if (v6) {
		flow_key_of(&key, &context, &quoted, direction ^ 1, true);
		flow = flow_find(&key, true);
	} else {
		flow_key_of(&key, &context, &quoted, direction ^ 1, false);
		flow = flow_find(&key, false);
	}
	return flow && !(flow->state & FLOW_REVOKED);
}

/* Decides about an IP packet of an endpoint that is isolated in at least one direction. */
static __always_inline enum reason decide(const struct context *context, struct packet *packet,
					  const struct cursor *transport, bool v6)
{
	struct flow_key key;
	struct flow *flow;

	if (packet->fragment == FRAGMENT_FIRST)
		fragment_remember(context, packet);
	if (packet->fragment == FRAGMENT_LATER && !fragment_recall(context, packet))
		return REASON_FRAGMENT;
	flow_key_of(&key, context, packet, context->direction, v6);
	flow = flow_find(&key, v6);
	if (context->local)
		return from_node(context, packet, &key, flow, v6);
	/* A SYN against the flow's direction opens a flow of its own; what the node opened, only the node goes on with. */
	if (flow && is_syn(packet) && flow->opener != context->direction)
		flow = NULL;
	if (flow && flow->state & FLOW_NODE && context->direction == DIRECTION_INGRESS)
		flow = NULL;
	if (flow)
		return follow(context, packet, flow, v6);
	if (is_icmp_error(packet) &&
	    is_related(transport->context, transport->at - (void *)(long)transport->context->data, context->direction,
		       v6))
		return REASON_RELATED;
	return admit(context, packet, &key, v6);
}

#endif
