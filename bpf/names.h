/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What rules by domain names allow: an address that the pod has resolved from a name is judged by another policy, in which the rules that have
 * this name are rules for everyone, and those that do not have it are left out. Names only ever accept, so this matters only to what is
 * denied otherwise: it is a step after the verdict. See docs/decisions/0035.
 */
#ifndef WEIR_NAMES_H
#define WEIR_NAMES_H

#include "backend.h"
#include "conntrack.h"
#include "counters.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "midstream.h"
#include "packet.h"
#include "packet_verdict.h"
#include "policy.h"

/* A question to judge_address(), and its working memory: the stack is full where it is called. */
struct name_scratch {
	struct named_address_key key;
	struct name_policy_key by;
	__u32 identity;
	__u32 place;
	__u32 version;
	__u32 number;
	bool known; /* a name has allowed the flow before: it does not matter whether it has expired since */
};

static __always_inline struct name_scratch *name_scratch_of_cpu(void)
{
	__u32 place = SCRATCH_NAMES;

	_Static_assert(sizeof(struct name_scratch) <= sizeof(struct scratch), "it fits into scratch");
	return bpf_map_lookup_elem(&scratch, &place);
}

/* Whether the endpoint has rules by domain names. */
static __always_inline bool uses_names(const struct context *context)
{
	return context->endpoint && context->policy[DIRECTION_EGRESS] & POLICY_NAMES;
}

/* Whether a name may change the verdict. REASON_AUDIT: no rule has let the packet pass. */
static __always_inline bool is_for_names(const struct context *context, enum reason reason)
{
	__u32 reasons = 1U << REASON_DENIED | 1U << REASON_REVOKED | 1U << REASON_UNTRACKED | 1U << REASON_AUDIT;

	/* A mask: the verifier would follow all that comes after once for each comparison. */
	return reasons >> reason & 1 && uses_names(context);
}

/* Whether a name that the pod has resolved to the address in the scratch allows the flow there. */
__noinline int judge_address(void)
{
	struct name_scratch *memory = name_scratch_of_cpu();
	struct named_address *named;

	if (!memory)
		return 0;
	named = bpf_map_lookup_elem(&names, &memory->key);
	if (!named)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < NAME_SLOTS; i++) {
		const volatile struct name_slot *slot = &named->slots[i];
		/* Before the pattern, which is written first where one takes the place of another. */
		bool over = bpf_jiffies64() >= slot->expires;
		struct name_policy *policy;

		/* Or the compiler would keep the addresses of all fields on the stack. */
		asm volatile("" : "+r"(memory));
		memory->by.pattern = slot->pattern;
		if (!memory->by.pattern || (over && !memory->known))
			continue;
		policy = bpf_map_lookup_elem(&name_policies, &memory->by);
		if (!policy)
			continue;
		memory->number = policy->number[memory->version & 1];
		if (memory->number != IDENTITY_ABSENT &&
		    judge_identity(&memory->number, &memory->identity, &memory->place, memory->version) ==
			    REASON_POLICY)
			return 1;
	}
	return 0;
}

/* Puts into the scratch what decides about a packet of a flow that the pod has opened or opens. */
static __always_inline struct name_scratch *name_question(const struct context *context, const struct packet *packet)
{
	struct name_scratch *memory = name_scratch_of_cpu();
	__u32 identity, place = place_of_flow(context, packet, DIRECTION_EGRESS), *judged;

	if (!memory || !find_peer(context, packet, &identity, &judged))
		return NULL;
	memory->by.policy = context->policy[DIRECTION_EGRESS] & ~POLICY_MARKS;
	memory->identity = identity_judged(context, packet, DIRECTION_EGRESS, identity, place);
	memory->place = place;
	memory->version = context->version;
	return memory;
}

/* judge_address() for such a packet. */
static __always_inline bool has_allowed_name(hook_context *hook, const struct context *context,
					     const struct packet *packet, bool known)
{
	struct name_scratch *memory = name_question(context, packet);

	if (!memory)
		return false;
	memory->key.address = *remote_of(context, packet);
	memory->key.incarnation = context->endpoint->incarnation;
	memory->key.family = family_of(packet);
	memory->known = known;
	return judge_address() && !leads_to_denied(hook, context, packet, memory->number, false);
}

/*
 * The same where the other end is a resolver, with the number of the policy that judges it: another one than the pod's own, by no name, which does not
 * let a pod reach itself by a Service, and judges backends of Services at port 53, too.
 */
static __always_inline struct name_scratch *resolver_question(const struct context *context,
							      const struct packet *packet)
{
	struct name_scratch *memory = name_question(context, packet);
	struct name_policy *policy;

	if (!memory)
		return NULL;
	memory->by.pattern = NAME_NONE;
	policy = bpf_map_lookup_elem(&name_policies, &memory->by);
	if (!policy)
		return NULL;
	memory->number = policy->number[memory->version & 1];
	return memory->number == IDENTITY_ABSENT ? NULL : memory;
}

/* Whether rules allow the pod the resolver to which it sends this packet. */
static __always_inline bool is_resolver(hook_context *hook, const struct context *context, const struct packet *packet)
{
	struct name_scratch *memory = resolver_question(context, packet);

	return memory &&
	       judge_identity(&memory->number, &memory->identity, &memory->place, memory->version) == REASON_POLICY &&
	       !leads_to_denied(hook, context, packet, memory->number, true);
}

/*
 * Whether what a resolver answers is from a backend of a Service that rules do not allow as a resolver. When the question was judged, NAT had not chosen one, and the proxy may
 * follow other rules than the agent.
 */
static __always_inline bool is_from_denied_resolver(hook_context *hook, const struct context *context,
						    const struct packet *packet)
{
	struct name_scratch *memory = resolver_question(context, packet);

	return !memory || leads_to_denied(hook, context, packet, memory->number, true);
}

/*
 * The flow of the packet in the CPU's scratch, which the pod sends and a name allows: a reason, perhaps with OPENS. A step of its own, because of the stack.
 */
__noinline int open_named(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;
	const struct packet *packet;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint)
		return REASON_INCOMPLETE;
	packet = &memory->packet;
	if (!has_flow(packet) || is_echo_reply(packet))
		return REASON_POLICY;
	/* As in judge_midstream(). */
	if (is_midstream(packet) && (packet->tcp_flags & TCP_RST || free_by_default(&context)))
		return REASON_POLICY;
	cache_flow(&context, packet, 0);
	return flow_prepare(&context, packet, DIRECTION_EGRESS, FLOW_NAMED, REASON_POLICY);
}

/* Whether there is an entry of the packet's flow, which is in the CPU's flow scratch then; else what was prepared there stays. */
static __always_inline bool finds_flow(const struct context *context, const struct packet *packet, struct flow *flow,
				       __u32 verdict)
{
	return !(verdict & OPENS) && has_flow(packet) && !is_opening(packet) &&
	       flow_search(context, packet, context->direction, flow);
}

/* Internal: a name allows the packet, and it may open a flow, by open_named(). */
#define NAME_OPENS (REASON_POLICY | OPENS)

/*
 * The verdict on a packet that no rule without a name allows, with what names allow: the same one, or a reason to pass, or NAME_OPENS. Only flows that the pod opens are
 * judged by names. An expired name goes on to allow those that it has allowed before, and no others. A global function, like walk_extensions.
 */
__noinline int judge_names(hook_context *hook, view_t view, __u32 verdict)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct flow_scratch *flows = flow_scratch_of_cpu();
	bool found, own;
	struct context context;
	struct packet *packet;
	int reason = REASON_POLICY;

	if (!memory || !flows || !context_in(&context, hook, view) || !context.endpoint)
		return verdict;
	packet = &memory->packet;
	if (!parse_again(hook) || (is_later_fragment(packet) && !fragment_recall(&context, packet)))
		return verdict;
	found = finds_flow(&context, packet, &flows->flow, verdict);
	own = found && flow_opener(flows->flow.seen) == DIRECTION_EGRESS;
	if (!own && context.direction != DIRECTION_EGRESS)
		return verdict;
	if (!has_allowed_name(hook, &context, packet, own && flow_state(flows->flow.seen) & FLOW_NAMED))
		return verdict;
	if (own) {
		flow_refresh(&context, packet, &flows->flow, FLOW_NAMED);
		reason = REASON_ESTABLISHED;
	} else if (found) {
		flow_entomb(&context, packet, &flows->flow);
	} else {
		reason = NAME_OPENS;
	}
	if (is_first_fragment(packet))
		fragment_remember(&context, packet);
	return reason;
}

/* A verdict, perhaps with OPENS, together with what names allow. */
static __always_inline int with_names(hook_context *hook, const struct context *context, int verdict)
{
	if (!is_for_names(context, verdict & (REASONS - 1)))
		return verdict;
	verdict = judge_names(hook, view_of(context), verdict) & (OPENS | (REASONS - 1));
	if (context->direction == DIRECTION_EGRESS && verdict == NAME_OPENS)
		verdict = open_named(hook, view_of(context)) & (OPENS | (REASONS - 1));
	return verdict;
}

#endif
