/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a parsed frame to the verdict of the endpoint whose interface it is on. The same for every hook.
 */
#ifndef WEIR_VERDICT_H
#define WEIR_VERDICT_H

#include "decide.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "report.h"
#include "source.h"

/* The endpoint of an interface; NULL where the control plane has written none. */
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

/* Adds what the maps say of the context's interface; false where the node's settings are not there. */
static __always_inline bool look_up(struct context *context)
{
	__u32 zero = 0;

	context->node = bpf_map_lookup_elem(&node, &zero);
	if (!context->node)
		return false;
	context->generation = context->node->generation;
	context->version = context->generation & 1;
	context->endpoint = endpoint_of(context->ifindex);
	return true;
}

/* An IP packet, of a family that is a constant: the compiler makes a program for each. */
static __always_inline enum reason verdict_of(struct context *context, struct packet *packet,
					      const struct cursor *cursor)
{
	context->local = generated_here(context, packet, !packet->fragment);
	if (is_neighbour(context, packet, cursor))
		return spoofed_neighbour(context, packet, cursor) ? REASON_SPOOFED : REASON_NEIGHBOUR;
	if (spoofed(context, packet))
		return REASON_SPOOFED;
	if (!tracked(context))
		return context->local ? REASON_NODE : REASON_NOT_ISOLATED;
	return decide(context, packet, cursor);
}

/* ARP, and what cannot be read: that passes where no policy isolates the endpoint from it, and from this node itself. */
static __always_inline enum reason verdict_without(hook_context *hook, const struct context *context,
						   enum parsed parsed)
{
	struct cursor cursor = cursor_at_start(hook);
	struct packet packet = {};
	bool whole = parse_source(&cursor, &packet);

	/* The kernel takes off any number of tags that name no VLAN, and goes on with what is behind them. */
	if (packet.family == FAMILY_HIDDEN && guarded(context))
		return REASON_UNSUPPORTED;
	if ((packet.family == FAMILY_IPV4 || packet.family == FAMILY_IPV6) && spoofed(context, &packet))
		return REASON_SPOOFED;
	if (parsed == PARSED_ARP && whole)
		return REASON_NEIGHBOUR;
	if (generated_here(context, &packet, false))
		return REASON_NODE;
	if (!isolated(context, context->direction))
		return REASON_NOT_ISOLATED;
	return parsed == PARSED_UNSUPPORTED ? REASON_UNSUPPORTED : REASON_MALFORMED;
}

/* What an endpoint that is isolated in neither direction lets through: everything but spoofed addresses. */
static __always_inline enum reason verdict(struct context *context, struct packet *packet, const struct cursor *cursor)
{
	if (is_v6(packet)) {
		packet->family = FAMILY_IPV6;
		return verdict_of(context, packet, cursor);
	}
	packet->family = FAMILY_IPV4;
	return verdict_of(context, packet, cursor);
}

#endif
