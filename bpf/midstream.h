/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Non-SYN TCP segments of no known flow: of a connection that the flow table has lost or never had, or of none. The segment
 * does not show who opened the connection, so that it passes by the policy of its own direction or not at all, exactly like
 * a SYN.
 */
#ifndef WEIR_MIDSTREAM_H
#define WEIR_MIDSTREAM_H

#include "backend.h"
#include "conntrack.h"
#include "packet_verdict.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "policy.h"
#include "counters.h"
#include "anti_spoofing.h"

/*
 * A rule of the segment's own direction allows it, so that its sender may open this connection: the entry lets the replies
 * pass as for a SYN, unconfirmed until both sides have sent packets. A reset has no reply.
 */
static __always_inline int pick_up(const struct context *context, const struct packet *packet)
{
	if (packet->tcp_flags & TCP_RST)
		return REASON_POLICY;
	cache_flow(context, packet, 0);
	return flow_prepare(context, packet, context->direction, 0, REASON_POLICY);
}

/*
 * The reason for a packet with verdict() REASON_MIDSTREAM, perhaps with OPENS. A global function, like walk_extensions. The frame is already
 * as contiguous as possible: computing the verdict did that.
 */
__noinline int judge_midstream(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;
	struct packet *packet;
	int reason;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint)
		return REASON_INCOMPLETE;
	packet = &memory->packet;
	if (!parse_again(hook) || (is_later_fragment(packet) && !fragment_recall(&context, packet)))
		return REASON_INCOMPLETE;
	reason =
		judge_led(&context, packet, context.direction, leads_astray(hook, &context, packet, context.direction));
	if (reason == REASON_DENIED)
		return REASON_UNTRACKED;
	/* Where the direction is free it opens nothing: its sender need not be the connection's opener (docs/decisions/0017). */
	if (reason == REASON_POLICY && !free_by_default(&context))
		reason = pick_up(&context, packet);
	if (is_first_fragment(packet) && passes(reason & (REASONS - 1)))
		fragment_remember(&context, packet);
	return reason;
}

#endif
