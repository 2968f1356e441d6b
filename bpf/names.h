/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What rules by domain names allow: an address that the pod has resolved from a name is judged by another policy, in which the rules that have
 * this name are rules for everyone, and those that do not have it are left out. Names only ever accept, so this matters only to what is
 * denied otherwise. See docs/decisions/0035. Included by policy.h.
 */
#ifndef WEIR_NAMES_H
#define WEIR_NAMES_H

#include "counters.h"
#include "layout.h"
#include "maps.h"
#include "packet.h"

/* A question to judge_by_name(), and its working memory: the stack is full where it is called. */
struct name_scratch {
	struct named_address_key key;
	struct name_policy_key by;
	__u32 identity;
	__u32 place;
	__u32 version;
	__u32 number;
	__u32 others; /* 0 */
	bool known;   /* the flow was allowed before */
};

static __always_inline struct name_scratch *name_scratch_of_cpu(void)
{
	__u32 place = SCRATCH_NAMES;

	_Static_assert(sizeof(struct name_scratch) <= sizeof(struct scratch), "it fits into scratch");
	return bpf_map_lookup_elem(&scratch, &place);
}

/* REASON_POLICY if a name that the pod has resolved to the address in the scratch allows the flow, else REASON_DENIED. */
__noinline int judge_by_name(void)
{
	struct name_scratch *memory = name_scratch_of_cpu();
	struct named_address *named;

	if (!memory)
		return REASON_DENIED;
	named = bpf_map_lookup_elem(&names, &memory->key);
	if (!named)
		return REASON_DENIED;
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
			return REASON_POLICY;
	}
	return REASON_DENIED;
}

/* The same for a packet of an endpoint with the policy of this number. */
static __always_inline int judge_named(const struct context *context, const struct packet *packet, __u32 number,
				       const struct name_scratch *what)
{
	struct name_scratch *memory = name_scratch_of_cpu();

	if (!memory)
		return REASON_DENIED;
	memory->key.address = context->direction == DIRECTION_EGRESS ? packet->destination : packet->source;
	memory->key.incarnation = context->endpoint->incarnation;
	memory->key.family = is_v6(packet) ? COUNTED_IPV6 : COUNTED_IPV4;
	memory->by.policy = number;
	memory->identity = what->identity;
	memory->place = what->place;
	memory->version = context->version;
	memory->known = what->known;
	return judge_by_name();
}

#endif
