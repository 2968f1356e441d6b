/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Life of a parsed packet: fragments, conntrack, policy. The same for every hook.
 */
#ifndef WEIR_DECIDE_H
#define WEIR_DECIDE_H

#include "conntrack.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "policy.h"
#include "report.h"
#include "source.h"

#define QUOTED_MIN 8 /* bytes of the transport header that every ICMP error quotes (RFC 792, RFC 4443 2.4) */

static __always_inline bool passes(enum reason reason)
{
	return reason < REASON_DROPS;
}

/*
 * A packet of a known flow. A policy that has changed since is asked once about a flow that it allows. One that it denies
 * keeps its old generation and is judged at every packet, so that nothing that another CPU writes can revive it.
 */
static __always_inline enum reason follow(const struct context *context, const struct packet *packet, struct flow *flow)
{
	if (flow->generation != context->generation) {
		if (!(flow->state & FLOW_NODE) && !passes(judge(context, packet, flow->opener)))
			return REASON_REVOKED;
		flow->generation = context->generation;
	}
	flow_refresh(context, packet, flow);
	return REASON_ESTABLISHED;
}

/* A packet that no flow is known for: judged by the policy of whoever may have opened its flow. */
static __always_inline enum reason admit(const struct context *context, const struct packet *packet,
					 const struct flow_key *key)
{
	__u32 candidates = openers(context, packet);
	enum direction here = context->direction, back = here ^ 1;
	enum reason reason = REASON_DENIED;

	if (candidates & 1u << here) {
		reason = judge(context, packet, here);
		if (passes(reason)) {
			flow_create(context, packet, key, (struct flow){ .opener = here });
			return reason;
		}
	}
	if (candidates & 1u << back) {
		enum reason answer = judge(context, packet, back);

		if (passes(answer)) {
			flow_create(context, packet, key, (struct flow){ .opener = back });
			return answer;
		}
	}
	return reason;
}

/* A packet that this node itself generated: it passes, and so do the answers to it (kubelet's probes). */
static __always_inline enum reason from_node(const struct context *context, const struct packet *packet,
					     const struct flow_key *key, struct flow *flow)
{
	if (flow && flow->opener == DIRECTION_INGRESS) {
		flow->state |= FLOW_NODE;
		flow->generation = context->generation;
		flow_refresh(context, packet, flow);
	} else if (flow) {
		follow(context, packet, flow);
	} else if (openers(context, packet) & 1u << DIRECTION_INGRESS) {
		flow_create(context, packet, key, (struct flow){ .opener = DIRECTION_INGRESS, .state = FLOW_NODE });
	}
	return REASON_NODE;
}

/* Parses the packet that an ICMP error quotes; `at` is where the ICMP header stands in the frame. */
static __always_inline bool parse_quoted(struct cursor *cursor, struct packet *quoted, __u32 at, bool v6)
{
	cursor->at = (void *)(long)cursor->context->data + (at & EXTENSIONS_MASK) + sizeof(struct icmp_header);
	return (v6 ? parse_ipv6(cursor, quoted) : parse_ipv4(cursor, quoted)) == PARSED_IP;
}

/*
 * Whether the outer packet goes to who sent the quoted one: to anyone else it would carry what it likes. And whether it holds
 * the quote, up to `end` in the frame: what lies beyond its own length is padding.
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
 * that it quotes. Path-MTU discovery depends on it. `at` is where the ICMP header stands in the frame. A global function, as
 * walk_extensions.
 */
__noinline int is_related(hook_context *hook, __u32 at, __u32 direction, __u32 generation)
{
	struct context context = { .ifindex = interface_of(hook) };
	struct cursor outer = cursor_at_start(hook), cursor = outer;
	struct packet quoted = { .quoted = true };
	struct flow_key key = {};
	struct flow *flow;
	__be16 protocol;
	bool v6;

	if (!parse_ethernet(&outer, &protocol))
		return 0;
	v6 = protocol == bpf_htons(ETH_P_IPV6);
	if (!parse_quoted(&cursor, &quoted, at, v6) || !goes_back(&outer, &quoted, offset_of(&cursor) + QUOTED_MIN))
		return 0;
	flow_key_of(&key, &context, &quoted, direction ^ 1);
	flow = has_flow(&quoted) ? flow_find(&quoted, &key) : NULL;
	return flow && (flow->generation == generation || flow->state & FLOW_NODE);
}

/* What a packet is to the flows that are known. */
static __always_inline enum reason decide_flow(const struct context *context, const struct packet *packet)
{
	struct flow_key key;
	struct flow *flow;

	flow_key_of(&key, context, packet, context->direction);
	flow = flow_find(packet, &key);
	/* A SYN against the flow's direction opens a flow of its own; what the node opened, only the node goes on with. */
	if (flow && is_syn(packet) && flow->opener != context->direction)
		flow = NULL;
	if (context->local)
		return from_node(context, packet, &key, flow);
	if (flow && flow->state & FLOW_NODE && context->direction == DIRECTION_INGRESS)
		flow = NULL;
	return flow ? follow(context, packet, flow) : admit(context, packet, &key);
}

/* A packet that belongs to no flow: all ICMP but echo. */
static __always_inline enum reason decide_alone(const struct context *context, const struct packet *packet,
						const struct cursor *transport)
{
	if (context->local)
		return REASON_NODE;
	if (is_icmp_error(packet) &&
	    is_related(transport->context, offset_of(transport), context->direction, context->generation))
		return REASON_RELATED;
	return judge(context, packet, context->direction);
}

/* Decides about an IP packet of an endpoint that is isolated in at least one direction. */
static __always_inline enum reason decide(const struct context *context, struct packet *packet,
					  const struct cursor *transport)
{
	enum reason reason;

	if (is_later_fragment(packet)) {
		if (context->local)
			return REASON_NODE;
		if (!isolated(context, context->direction))
			return REASON_NOT_ISOLATED;
		if (!fragment_recall(context, packet))
			return REASON_FRAGMENT;
	}
	reason = has_flow(packet) ? decide_flow(context, packet) : decide_alone(context, packet, transport);
	/* Only where later ones will be asked about, so that what is denied, or passes anyway, takes no room from others. */
	if (is_first_fragment(packet) && passes(reason) && reason != REASON_NODE &&
	    isolated(context, context->direction))
		fragment_remember(context, packet);
	return reason;
}

#endif
