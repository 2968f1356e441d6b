/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a parsed packet: fragments, conntrack, policy. The same for every hook.
 */
#ifndef WEIR_PACKET_VERDICT_H
#define WEIR_PACKET_VERDICT_H

#include "backend.h"
#include "conntrack.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "percpu_cache.h"
#include "policy.h"
#include "counters.h"
#include "anti_spoofing.h"
#include "stateless.h"

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

static __always_inline enum reason exempt_reason(const struct context *context)
{
	return is_local(context) ? REASON_NODE : REASON_OWN;
}

/* Whether this generation of the policy has allowed the flow, or no policy applies to it. */
static __always_inline bool is_current(const struct flow *flow, __u32 generation)
{
	return flow_stamp(flow->seen) == (generation & FLOW_STAMP_MASK) || flow_state(flow->seen) & FLOW_EXEMPT;
}

/*
 * Whether it is still to be seen where the kernel takes a flow that the pod has opened: when its first packet was judged, NAT had not chosen a backend.
 * By rules that may be older than the policies in force: the proxy follows Services later, or earlier. Once both sides have sent, it has been seen; but for
 * datagrams NAT decides again whenever conntrack's entry has gone, as proxies make it go with an endpoint: see decide_plain().
 */
#ifdef CONNTRACK_EVIDENCE
static __always_inline bool may_lead_elsewhere(const struct context *context, const struct packet *packet,
					       const struct flow *flow)
{
	__u8 seen = packet->protocol == IPPROTO_UDP ? FLOW_EXEMPT : FLOW_CONFIRMED | FLOW_EXEMPT;

	return !(flow_state(flow->seen) & seen) && flow_opener(flow->seen) == DIRECTION_EGRESS &&
	       isolated(context, DIRECTION_EGRESS) && !exempt(context) && may_be_frontend(remote_of(context, packet));
}
#else
static __always_inline bool may_lead_elsewhere(__attribute__((unused)) const struct context *context,
					       __attribute__((unused)) const struct packet *packet,
					       __attribute__((unused)) const struct flow *flow)
{
	return false;
}
#endif

/* The side that has opened a packet's flow, or opens it. */
static __always_inline enum direction opener_of(const struct context *context, const struct flow *flow, bool found)
{
	return found ? flow_opener(flow->seen) : context->direction & 1;
}

/*
 * Judges a packet that belongs to no flow allowed by this generation. Without a flow, the policy of the packet's own direction
 * judges it, and it opens one if it `opens`. A flow of an older generation is judged by the policy of the side that opened it. If that denies it,
 * the other side may still send what its own direction allows, but this opens no flow: the entry keeps its opener and an
 * old stamp, so that every packet is judged and nothing that another CPU writes can revive the flow.
 */
static __always_inline int admit(hook_context *hook, const struct context *context, const struct packet *packet,
				 struct flow *flow, bool found, bool opens, bool astray)
{
	enum direction own = context->direction & 1, side = opener_of(context, flow, found);
	enum reason reason = REASON_DENIED;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < DIRECTIONS; i++) {
		/* The compiler would find that the directions alone end the loop; the verifier cannot. */
		asm volatile("" : "+r"(i));
		reason = judge_led(context, packet, side, astray);
		if (passes(reason) || side == own)
			break;
		side = own;
	}
	if (!passes(reason))
		return found ? REASON_REVOKED : reason;
	if (!found) {
		if (!opens)
			return reason;
		if (is_opening(packet))
			cache_flow(context, packet, 0);
		if (context->plain && reason == REASON_POLICY && is_syn(packet) &&
		    opens_without_entry(hook, context, packet))
			return reason;
		return flow_prepare(context, packet, own, 0, reason);
	}
	if (side != flow_opener(flow->seen)) {
		flow_entomb(context, packet, flow);
		return reason;
	}
	flow_refresh(context, packet, flow, 0);
	return reason == REASON_AUDIT ? reason : REASON_ESTABLISHED;
}

/*
 * Makes the flow of an exempt packet exempt, so that the replies to it pass too (kubelet's probes; what the pod sends to itself through
 * a Service).
 */
static __always_inline int adopt(const struct context *context, const struct packet *packet, struct flow *flow,
				 bool found)
{
	__u8 state = exempt(context);

	if (found)
		flow_refresh(context, packet, flow, state);
	else if (!is_midstream(packet) && !is_echo_reply(packet))
		return flow_prepare(context, packet, DIRECTION_INGRESS, state, exempt_reason(context));
	/* The next such packet of this tick writes nothing either. A reply may confirm the flow meanwhile: that is seen in the next tick. */
	if (is_steady(packet))
		cache_flow(context, packet, now());
	return exempt_reason(context);
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
__noinline int is_related(hook_context *hook, __u32 at, view_t view)
{
	struct context context;
	struct cursor outer = cursor_at_start(hook), cursor = outer;
	struct scratch_space *memory = scratch_of_cpu();
	struct packet *quoted;
	struct flow flow;
	__be16 protocol;
	bool v6;

	if (!memory || !parse_ethernet(&outer, &protocol) || !context_in(&context, hook, view) || !context.endpoint)
		return 0;
	quoted = &memory->quoted;
	*quoted = (struct packet){ .quoted = true };
	v6 = protocol == bpf_htons(ETH_P_IPV6);
	if (!parse_quoted(&cursor, quoted, at, v6) || !goes_back(&outer, quoted, offset_of(&cursor) + QUOTED_MIN))
		return 0;
	if (!has_flow(quoted))
		return 0;
	if (flow_find(&context, quoted, (context.direction ^ 1) & 1, &flow) && is_current(&flow, context.generation))
		return 1;
	return is_error_without_entry(hook, &context, quoted);
}

/*
 * Whether the packet leaves by a free direction, as an answer in a flow that the other side opened and has not confirmed: further answers of
 * this tick change nothing.
 */
static __always_inline bool is_free_reply(const struct context *context, const struct flow *flow)
{
	return context->direction == DIRECTION_EGRESS && !isolated(context, DIRECTION_EGRESS) &&
	       flow_opener(flow->seen) == DIRECTION_INGRESS && flow_state(flow->seen) == FLOW_REPLIED;
}

/*
 * Whether the pod's answer to a SYN shows that the entry is of an earlier connection between these ports: one that the pod opened, or that has ended.
 * A SYN that needs no entry leaves it, and what the other side sends would count as the pod's own flow, whatever policy says of that side.
 */
static __always_inline bool ends_earlier(const struct context *context, const struct packet *packet,
					 const struct flow *flow)
{
	__u8 state = flow_state(flow->seen);

	if (context->direction != DIRECTION_EGRESS || isolated(context, DIRECTION_EGRESS) || !is_syn_ack(packet))
		return false;
	return (flow_opener(flow->seen) == DIRECTION_EGRESS && !(state & FLOW_EXEMPT)) ||
	       state & (FLOW_FIN_OPENER | FLOW_FIN_OTHER);
}

/* Internal, never counted: the packet is to be judged by policy, which is the next step. */
#define REASON_JUDGE ((enum reason)(REASONS - 2))
_Static_assert(REASON_TABLE_FULL < REASONS - 2, "internal reasons are above all others");

/* A direction that is free needs no flow: where there is none, what leaves is counted so. */
static __always_inline enum reason reason_of_kind(const struct context *context, __u32 kind)
{
	return context->direction == DIRECTION_EGRESS && kind & 1 ? REASON_NOT_ISOLATED : REASON_ESTABLISHED;
}

/*
 * How a packet relates to the known flows: the reason, or REASON_JUDGE and whether it belongs to `flow`, and may open one. A packet that opens
 * a flow does so whether or not there is an older one: a denied one costs no look-up.
 */
static __always_inline int match(hook_context *hook, const struct context *context, const struct packet *packet,
				 struct flow *flow, bool *found, bool *opens)
{
	bool steady = is_steady(packet);
	__u32 kind;

	*found = false;
	*opens = has_flow(packet);
	if (!*opens)
		return exempt(context) ? exempt_reason(context) : REASON_JUDGE;
	if (steady) {
		kind = cached_kind(context, packet);
		if (kind != CACHED_NOT)
			return exempt(context) ? exempt_reason(context) : reason_of_kind(context, kind);
	} else {
		if (is_opening(packet) && !exempt(context)) {
			flow_expect(context, packet);
			return REASON_JUDGE;
		}
		cache_flow(context, packet, 0);
	}
	/* A segment that changes its entry's state does so if there is one; a steady one need not look for it. */
	if (!steady && !is_opening(packet))
		*found = flow_search(context, packet, context->direction, flow);
	if (context->plain && !*found && is_midstream(packet) && passes_without_entry(hook, context, packet)) {
		if (steady)
			cache_flow_as(context, packet, now(), CACHED_JUDGED);
		return REASON_ESTABLISHED;
	}
	if (steady)
		*found = flow_find(context, packet, context->direction, flow);
	if (*found && ends_earlier(context, packet, flow)) {
		flow_remove(packet, flow);
		*found = false;
	}
	/* A flow that the pod opened with a packet that did not come back stays the pod's. */
	if (exempt(context) && !(*found && flow_opener(flow->seen) == DIRECTION_EGRESS))
		return adopt(context, packet, flow, *found);
	/* Only the node or the pod itself may continue a flow that it opened. */
	if (*found && flow_state(flow->seen) & FLOW_EXEMPT && context->direction == DIRECTION_INGRESS)
		*found = false;
	if (*found && is_current(flow, context->generation) && !may_lead_elsewhere(context, packet, flow)) {
		flow_refresh(context, packet, flow, 0);
		if (exempt(context))
			return exempt_reason(context);
		if (steady && is_settled(flow_state(flow->seen)))
			cache_flow(context, packet, now());
		else if (steady && is_free_reply(context, flow))
			cache_flow_as(context, packet, now(), CACHED_REPLY);
		return REASON_ESTABLISHED;
	}
	if (!*found && is_midstream(packet) && !exempt(context)) {
		if (isolated(context, context->direction))
			return REASON_MIDSTREAM;
		if (steady && context->direction == DIRECTION_EGRESS)
			cache_flow_as(context, packet, now(), CACHED_FREE);
		return REASON_NOT_ISOLATED;
	}
	/* A reply that outlives its flow would otherwise let the other side send more requests. */
	*opens = !is_echo_reply(packet);
	return REASON_JUDGE;
}

/* Only if later fragments need it: packets that are denied, or pass anyway, take no entries from others. */
static __always_inline void remember(const struct context *context, const struct packet *packet, int reason)
{
	if (is_first_fragment(packet) && passes(reason & (REASONS - 1)) && !exempt(context) &&
	    isolated(context, context->direction))
		fragment_remember(context, packet);
}

int judge_other(hook_context *hook, view_t view, __u32 astray);

/* A plain packet that leads_frame_astray() has read into the scratch goes on as other packets do. */
static __always_inline int judge_astray(hook_context *hook, const struct context *context, const struct flow *flow,
					bool found, bool opens)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();

	if (!memory)
		return REASON_INCOMPLETE;
	memory->flow = *flow;
	memory->found = found;
	memory->opens = opens;
	return judge_other(hook, view_of(context), true) & (OPENS | (REASONS - 1));
}

/* Decides about a plain IP packet of an endpoint that is isolated in at least one direction: a reason, perhaps with OPENS. */
static __always_inline int decide_plain(hook_context *hook, const struct context *context, const struct packet *packet)
{
	bool found, opens;
	struct flow flow = {};
	int reason = match(hook, context, packet, &flow, &found, &opens);

	if (reason != REASON_JUDGE)
		return reason;
	if (leads_plain_astray(hook, context, packet, opener_of(context, &flow, found)))
		return judge_astray(hook, context, &flow, found, opens);
	reason = admit(hook, context, packet, &flow, found, opens, false);
	if (exempt(context))
		return exempt_reason(context);
	/* Conntrack is searched for datagrams to Services once a tick. */
	if (context->direction == DIRECTION_EGRESS && found && reason == REASON_ESTABLISHED && is_steady(packet) &&
	    is_settled(flow_state(flow.seen)))
		cache_flow(context, packet, now());
	return reason;
}

/* The same for other packets, in three steps. The first one: a reason, or REASON_JUDGE. */
static __always_inline int match_packet(hook_context *hook, const struct context *context, struct packet *packet)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();
	bool found, opens;
	int reason;

	if (!memory)
		return REASON_INCOMPLETE;
	if (is_later_fragment(packet)) {
		if (exempt(context))
			return exempt_reason(context);
		if (!isolated(context, context->direction))
			return REASON_NOT_ISOLATED;
		if (!fragment_recall(context, packet))
			return is_spared(context, packet) ? REASON_POLICY : unless_audited(context, REASON_FRAGMENT);
	}
	reason = match(hook, context, packet, &memory->flow, &found, &opens);
	memory->found = found;
	memory->opens = opens;
	if (reason != REASON_JUDGE)
		remember(context, packet, reason);
	return reason;
}

/* The second one: whether a flow to a Service leads to a backend that the policy denies. */
static __always_inline bool leads_packet_astray(hook_context *hook, const struct context *context,
						const struct packet *packet)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();

	return memory && leads_astray(hook, context, packet, opener_of(context, &memory->flow, memory->found));
}

/* The third one: judges the packet. */
static __always_inline int judge_packet(hook_context *hook, const struct context *context, const struct packet *packet,
					bool astray)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();
	int reason;

	if (!memory)
		return REASON_INCOMPLETE;
	reason = admit(hook, context, packet, &memory->flow, memory->found, memory->opens, astray);
	if (exempt(context))
		return exempt_reason(context);
	remember(context, packet, reason);
	return reason;
}

#endif
