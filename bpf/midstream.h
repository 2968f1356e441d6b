/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP segments of no known flow that are no SYN: of a connection that the table of flows has lost or never had, or of none. Who
 * opened it cannot be seen from the segment, so that it passes by the policy of its own direction or not at all, exactly as a
 * SYN would.
 */
#ifndef WEIR_MIDSTREAM_H
#define WEIR_MIDSTREAM_H

#include "conntrack.h"
#include "decide.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "policy.h"
#include "report.h"
#include "source.h"

/*
 * A rule of its own direction admits the segment, so that its sender may open this very connection: the entry lets the answers
 * pass as they would to its SYN, unconfirmed until both sides have spoken. A reset has no answer.
 */
static __always_inline void pick_up(const struct context *context, const struct packet *packet, struct flow_key *key)
{
	if (packet->tcp_flags & TCP_RST)
		return;
	flow_key_of(key, context, packet, context->direction);
	flow_create(context, packet, key, (struct flow){ .opener = context->direction });
}

/*
 * The reason for a packet of which verdict() says REASON_MIDSTREAM. A global function, as walk_extensions. What can be made
 * contiguous of the frame is, since its verdict was found.
 */
__noinline int judge_midstream(hook_context *hook, __u32 direction)
{
	struct cursor cursor = cursor_at_start(hook);
	struct room *here = room();
	struct context context;
	struct packet *packet;
	enum reason reason;

	if (!here || !context_of(&context, hook, direction & 1) || !context.endpoint)
		return REASON_INCOMPLETE;
	packet = &here->packet;
	*packet = (struct packet){};
	if (parse(&cursor, packet) != PARSED_IP || (is_later_fragment(packet) && !fragment_recall(&context, packet)))
		return REASON_INCOMPLETE;
	reason = judge(&context, packet, context.direction);
	if (reason == REASON_DENIED)
		return REASON_UNTRACKED;
	if (reason == REASON_POLICY)
		pick_up(&context, packet, &here->key);
	if (is_first_fragment(packet) && passes(reason))
		fragment_remember(&context, packet);
	return reason;
}

#endif
