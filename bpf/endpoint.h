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

/* Fills the context before the packet is parsed. False if the control plane has not even written the node's settings. */
static __always_inline bool context_of(struct context *context, hook_context *hook, enum direction direction)
{
	__u32 zero = 0;
	const struct node *here = bpf_map_lookup_elem(&node, &zero);

	if (!here)
		return false;
	*context = (struct context){
		.node = here,
		.ifindex = interface_of(hook),
		.generation = here->generation,
		.direction = direction,
		.local = direction == DIRECTION_INGRESS && hook_local(hook),
		.returned = direction == DIRECTION_INGRESS && hook_returned(hook),
	};
	context->owned = context->local && hook_owned(hook);
	context->version = context->generation & 1;
	context->endpoint = endpoint_of(context->ifindex);
	return true;
}

#endif
