/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which side opened a TCP connection that is not in the flow table, by the kernel's own conntrack and the pod's own socket:
 * connections that are older than the pod's isolation, that need no entry (stateless.h), or that the table has lost.
 */
#ifndef WEIR_EVIDENCE_H
#define WEIR_EVIDENCE_H

#include "conntrack.h"
#include "endpoint.h"
#include "kernel_conntrack.h"
#include "layout.h"
#include "maps.h"
#include "packet_verdict.h"

#define NO_EVIDENCE (-1)

/* Which side opened the packet's connection, and in `ticks` how long conntrack will keep its entry; or NO_EVIDENCE. */
static __always_inline int opener_by_evidence(hook_context *hook, const struct context *context,
					      const struct packet *packet, __u32 *ticks)
{
	struct bpf_ct_opts options = { .netns_id = THIS_NETNS, .l4proto = IPPROTO_TCP };
	struct bpf_sock_tuple tuple = {};
	struct entry_facts facts;
	struct nf_conn *entry;
	__s32 left;
	bool good;

	if (tuple_of(&tuple, packet, context->direction == DIRECTION_EGRESS) == sizeof(tuple.ipv4))
		entry = hook_ct_lookup(hook, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	else
		entry = hook_ct_lookup(hook, &tuple, sizeof(tuple.ipv6), &options, sizeof(options));
	if (!entry)
		return NO_EVIDENCE;
	facts_of(&facts, entry);
	good = is_evidence(&facts);
	left = (__s32)(entry->timeout - (__u32)now());
	bpf_ct_release(entry);
	if (!good || left <= 0)
		return NO_EVIDENCE;
	tuple_of(&tuple, packet, context->direction == DIRECTION_INGRESS);
	if (!has_socket(hook, context->endpoint, &tuple, is_v6(packet), false))
		return NO_EVIDENCE;
	*ticks = left;
	return options.dir == IP_CT_DIR_ORIGINAL ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/*
 * Whether there is evidence of who opened the connection of a packet with verdict() REASON_MIDSTREAM. If so, its flow is prepared, under an
 * older generation, so that the current policies judge it, unconfirmed, and for no longer than conntrack keeps it. In one insertion: a packet on
 * another CPU must never find the flow under the current generation before it is judged. A denied flow keeps its entry and opener: neither side can reopen it with a segment.
 */
__noinline int find_evidence(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct flow_scratch *flows = flow_scratch_of_cpu();
	struct context context;
	struct packet *packet;
	__u32 left = 0, expires;
	__u64 data;
	int opener;

	if (!memory || !flows || !context_in(&context, hook, view) || !context.endpoint)
		return 0;
	packet = &memory->packet;
	if (!parse_again(hook) || packet->fragment)
		return 0;
	opener = opener_by_evidence(hook, &context, packet, &left);
	if (opener == NO_EVIDENCE)
		return 0;
	cache_flow(&context, packet, 0);
	flow_prepare(&context, packet, opener & 1, 0, REASON_POLICY);
	data = flows->data;
	expires = flow_time(context.node, now() + left) + 1;
	flows->data = flow_data(expires < flow_expires(data) ? expires : flow_expires(data), context.generation - 1,
				flow_state(data), opener & 1);
	return 1;
}

#endif
