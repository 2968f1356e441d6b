/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is looked up before a packet is parsed: the node's settings and the endpoint of the interface.
 */
#ifndef WEIR_ENDPOINT_H
#define WEIR_ENDPOINT_H

#include "layout.h"
#include "maps.h"
#include "packet.h"
#include "counters.h"

/* The endpoint of an interface; NULL if the control plane has written none. */
static __always_inline const struct endpoint *endpoint_of(__u32 ifindex)
{
	for (__u32 i = 0; i < ENDPOINT_PROBES; i++) {
		__u32 place = (ifindex + i) & (ENDPOINTS_PLACES - 1);
		const struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &place);

		if (endpoint && endpoint->ifindex == ifindex)
			return endpoint;
	}
	return NULL;
}

/*
 * A packet's direction, and the generation that was active when it came, in one argument of a global function: all of them see one
 * generation, whatever is activated meanwhile.
 */
typedef __u64 view_t;

static __always_inline view_t view_of(const struct context *context)
{
	return (__u64)context->generation << 1 | (context->direction & 1);
}

static __always_inline const struct node *settings_of_node(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node, &zero);
}

static __always_inline __u8 exemption_of(hook_context *hook)
{
	if (hook_local(hook))
		return FLOW_NODE;
	return hook_returned(hook) ? FLOW_OWN : 0;
}

static __always_inline void fill_context(struct context *context, hook_context *hook, const struct node *here,
					 view_t view)
{
	enum direction direction = view & 1;

	*context = (struct context){
		.node = here,
		.ifindex = interface_of(hook),
		.generation = view >> 1,
		.direction = direction,
		.exempt = direction == DIRECTION_INGRESS ? exemption_of(hook) : 0,
	};
	context->owned = is_local(context) && hook_owned(hook);
	context->version = context->generation & 1;
	context->endpoint = endpoint_of(context->ifindex);
	if (context->endpoint)
		context->policy = context->endpoint->policy[context->version & 1];
}

/* Fills the context before the packet is parsed. False if the control plane has not even written the node's settings. */
static __always_inline bool context_of(struct context *context, hook_context *hook, enum direction direction)
{
	const struct node *here = settings_of_node();

	if (!here)
		return false;
	fill_context(context, hook, here, (__u64) * (const volatile __u32 *)&here->generation << 1 | (direction & 1));
	return true;
}

/* The same in a later step for the same packet. */
static __always_inline bool context_in(struct context *context, hook_context *hook, view_t view)
{
	const struct node *here = settings_of_node();

	if (!here)
		return false;
	fill_context(context, hook, here, view);
	return true;
}

#endif
