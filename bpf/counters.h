/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The context of one program run, and the counters of its decisions.
 */
#ifndef WEIR_COUNTERS_H
#define WEIR_COUNTERS_H

#include "layout.h"
#include "maps.h"

struct context {
	const struct node *node;
	const struct endpoint *endpoint;
	const __u32 *policy; /* the endpoint's, by direction, in the packet's version */
	__u32 ifindex;
	__u32 version; /* of every value: the generation's lowest bit, read once so that one packet sees one version */
	__u32 generation;
	enum direction direction;
	bool plain;  /* the packet is: see fast_path.h. A constant, by which the compiler specializes */
	bool owned;  /* by a socket of this node */
	__u8 exempt; /* see exempt() */
};

/*
 * Whether no policy applies to the packet. Then the state of its flow: FLOW_NODE if this node itself generated it, FLOW_OWN if it leaves by the interface that it
 * came in by, so that the pod itself has sent it, which cannot block itself. Else 0.
 */
static __always_inline __u8 exempt(const struct context *context)
{
	return context->exempt;
}

static __always_inline bool is_local(const struct context *context)
{
	return exempt(context) == FLOW_NODE;
}

static __always_inline bool isolated(const struct context *context, enum direction direction)
{
	return context->policy[direction & 1] != 0;
}

/* Whether the isolating policy is in audit mode: it only reports what it would drop. */
static __always_inline bool audited(const struct context *context, enum direction direction)
{
	return context->policy[direction & 1] & POLICY_AUDIT;
}

/* A reason to drop that applies because the endpoint is isolated in the packet's direction. */
static __always_inline enum reason unless_audited(const struct context *context, enum reason reason)
{
	return audited(context, context->direction) ? REASON_AUDIT : reason;
}

/* Whether any packet of the endpoint is judged by policy, so that its flows are worth tracking. */
static __always_inline bool tracked(const struct context *context)
{
	return isolated(context, DIRECTION_INGRESS) || isolated(context, DIRECTION_EGRESS);
}

static __always_inline void count(const struct context *context, enum reason reason, enum counted_family family,
				  __u32 bytes)
{
	__u32 id = context->endpoint ? context->endpoint->id : 0;
	struct counters *counters_here = bpf_map_lookup_elem(&counters, &id);
	struct count *cell;

	if (!counters_here)
		return;
	cell = &counters_here->count[family & 1][context->direction & 1][reason & (REASONS - 1)];
	cell->packets++;
	cell->bytes += bytes;
}

#endif
