/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows: one LRU entry for both directions, keyed by the pod's incarnation and seen from the pod. Expiry is lazy, in jiffies. Every
 * entry carries the policy generation under which it was last judged.
 */
#ifndef WEIR_CONNTRACK_H
#define WEIR_CONNTRACK_H

#include "layout.h"
#include "maps.h"
#include "old_flows.h"
#include "counters.h"
#include "transport.h"

struct flow_key {
	union {
		struct flow_v4_key v4;
		struct flow_v6_key v6;
	};
};

/* How the map `scratch` is used, since the stack would not hold it all. */
struct scratch_space {
	struct old_flow flow; /* to be created */
	struct packet packet; /* that is not plain */
	struct packet quoted; /* in an ICMP error */
	struct flow_key key;
	struct fragment_key fragment_key;
	struct fragment fragment;
};

static __always_inline struct scratch_space *scratch_of_cpu(void)
{
	__u32 zero = 0;

	_Static_assert(sizeof(struct scratch_space) <= sizeof(struct scratch), "it fits into scratch");
	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline __u64 now(void)
{
	return bpf_jiffies64();
}

static __always_inline bool expired(__u64 expires)
{
	return now() >= expires;
}

/* Whether the packet can belong to a flow. ICMP messages other than echoes have no replies: each is judged on its own. */
static __always_inline bool has_flow(const struct packet *packet)
{
	return (packet->protocol != IPPROTO_ICMP && packet->protocol != IPPROTO_ICMPV6) || packet->echo;
}

/* The key of a packet that goes in this direction. */
static __always_inline void flow_key_of(struct flow_key *key, const struct context *context,
					const struct packet *packet, enum direction direction)
{
	bool out = direction == DIRECTION_EGRESS;
	__be16 local_port = out ? packet->source_port : packet->destination_port;
	__be16 remote_port = out ? packet->destination_port : packet->source_port;
	__u32 owner = context->endpoint->incarnation << 8 | packet->protocol;

	if (packet->echo)
		remote_port = is_echo_request(packet) == out;
	if (is_v6(packet)) {
		/* Field by field: a whole struct would be built on the stack first. */
		key->v6.local = out ? packet->source : packet->destination;
		key->v6.remote = out ? packet->destination : packet->source;
		key->v6.local_port = local_port;
		key->v6.remote_port = remote_port;
		key->v6.owner = owner;
	} else {
		key->v4 = (struct flow_v4_key){
			.local = (__be32)(out ? packet->source.low : packet->destination.low),
			.remote = (__be32)(out ? packet->destination.low : packet->source.low),
			.local_port = local_port,
			.remote_port = remote_port,
			.owner = owner,
		};
	}
}

/* The packet's flow, by its key, if it has not expired. */
static __always_inline struct old_flow *flow_find(const struct packet *packet, const struct flow_key *key)
{
	struct old_flow *flow = is_v6(packet) ? bpf_map_lookup_elem(&old_conntrack_v6, &key->v6)
					      : bpf_map_lookup_elem(&old_conntrack_v4, &key->v4);

	return flow && !expired(flow->expires) ? flow : NULL;
}

static __always_inline enum timeout tcp_timeout(__u8 state, __u8 flags)
{
	/* A reset only shortens the timeout: a forged one ends no flow, since the next segment restores the timeout. */
	if (flags & TCP_RST)
		return TIMEOUT_TCP_RESET;
	if (state & (FLOW_FIN_OPENER | FLOW_FIN_OTHER))
		return TIMEOUT_TCP_CLOSING;
	return state & FLOW_CONFIRMED ? TIMEOUT_TCP_ESTABLISHED : TIMEOUT_TCP_NEW;
}

static __always_inline enum timeout timeout_of(__u8 state, const struct packet *packet)
{
	switch (packet->protocol) {
	case IPPROTO_TCP:
		return tcp_timeout(state, packet->tcp_flags);
	case IPPROTO_UDP:
		return state & FLOW_CONFIRMED ? TIMEOUT_UDP_STREAM : TIMEOUT_UDP_NEW;
	case IPPROTO_SCTP:
		return TIMEOUT_SCTP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return TIMEOUT_ICMP;
	default:
		return TIMEOUT_OTHER;
	}
}

/* The flow's state after a packet, whether it came from the side that opened it or from the other. */
static __always_inline __u8 next_state(__u8 state, const struct packet *packet, bool from_opener)
{
	/* A reset proves nothing about its sender: any host answers a segment of no connection with one. */
	if (packet->tcp_flags & TCP_RST)
		return state;
	if (is_opening(packet))
		state &= FLOW_NODE | FLOW_OWN; /* a new connection between the same ports */
	if (!from_opener)
		state |= FLOW_REPLIED;
	else if (state & FLOW_REPLIED)
		state |= FLOW_CONFIRMED;
	if (packet->tcp_flags & TCP_FIN)
		state |= from_opener ? FLOW_FIN_OPENER : FLOW_FIN_OTHER;
	return state;
}

/* Whether the packet does not change the state of a flow in which both sides have sent packets. */
static __always_inline bool is_steady(const struct packet *packet)
{
	return !packet->sctp_init &&
	       (packet->protocol != IPPROTO_TCP || !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)));
}

/* Updates the entry for a packet of the flow. Writes only what changes: all CPUs share the entry. */
static __always_inline void flow_refresh(const struct context *context, const struct packet *packet,
					 struct old_flow *flow)
{
	__u8 state;
	__u64 expires;

	/*
	 * What a pod sends does not refresh the flow that it opened with itself. Otherwise the entry might outlive the kernel's entry that returns
	 * the packet to the pod, and the packet would go to the address itself, which is a node's. A segment of no connection does no harm there.
	 */
	if (flow->state & FLOW_OWN && context->direction == DIRECTION_EGRESS && packet->protocol != IPPROTO_TCP)
		return;
	state = next_state(flow->state, packet, flow->opener == context->direction);
	expires = now() + context->node->timeouts[timeout_of(state, packet)];

	/* A reset only moves the expiry forward: it does not keep a half-open connection. */
	if (packet->tcp_flags & TCP_RST && expires > flow->expires)
		expires = flow->expires;
	if (flow->generation != context->generation)
		flow->generation = context->generation;
	if (flow->state != state)
		flow->state = state;
	if (flow->expires != expires)
		flow->expires = expires;
}

/* If the update fails, the flow's next packet is judged as a new one. */
static __always_inline void flow_store(const struct packet *packet, const struct flow_key *key,
				       const struct old_flow *flow)
{
	if (is_v6(packet))
		bpf_map_update_elem(&old_conntrack_v6, &key->v6, flow, BPF_ANY);
	else
		bpf_map_update_elem(&old_conntrack_v4, &key->v4, flow, BPF_ANY);
}

/* Completes a flow with the given state and opener: as of this packet, under the current generation. */
static __always_inline void flow_begin(const struct context *context, const struct packet *packet,
				       struct old_flow *flow)
{
	flow->state = next_state(flow->state, packet, flow->opener == context->direction);
	flow->generation = context->generation;
	flow->expires = now() + context->node->timeouts[timeout_of(flow->state, packet)];
}

/* Creates a flow with the given state and opener. */
static __always_inline void flow_create(const struct context *context, const struct packet *packet,
					const struct flow_key *key, struct old_flow flow)
{
	struct scratch_space *memory = scratch_of_cpu();

	if (!memory)
		return;
	flow_begin(context, packet, &flow);
	memory->flow = flow;
	flow_store(packet, key, &memory->flow);
}

/*
 * Keeps the entry of a denied flow for the UDP stream timeout, since a packet of the other side has just passed
 * by its own direction's policy. While the entry exists, that packet opens no flow of its own, through which the replies
 * of the denied side would pass. Denied packets do not refresh the entry.
 */
static __always_inline void flow_entomb(const struct context *context, struct old_flow *flow)
{
	__u64 expires = now() + context->node->timeouts[TIMEOUT_UDP_STREAM];

	if (flow->expires != expires)
		flow->expires = expires;
}

static __always_inline void fragment_key_of(struct fragment_key *key, const struct context *context,
					    const struct packet *packet)
{
	key->source = packet->source;
	key->destination = packet->destination;
	key->id = packet->fragment_id;
	key->interface = context->ifindex << 8 | (is_v6(packet) ? 0 : packet->protocol);
	key->direction = context->direction;
	key->reserved = 0;
}

static __always_inline void fragment_remember(const struct context *context, const struct packet *packet)
{
	struct scratch_space *memory = scratch_of_cpu();

	if (!memory)
		return;
	fragment_key_of(&memory->fragment_key, context, packet);
	memory->fragment.expires = now() + context->node->timeouts[TIMEOUT_FRAGMENT];
	memory->fragment.source_port = packet->source_port;
	memory->fragment.destination_port = packet->destination_port;
	memory->fragment.protocol = packet->protocol;
	memory->fragment.icmp_type = packet->icmp_type;
	memory->fragment.echo = packet->echo;
	memory->fragment.reserved = 0;
	bpf_map_update_elem(&fragments, &memory->fragment_key, &memory->fragment, BPF_ANY);
}

/* Gives a later fragment the protocol and ports of the first one; false if the first one was not seen. */
static __always_inline bool fragment_recall(const struct context *context, struct packet *packet)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct fragment *first;

	if (!memory)
		return false;
	fragment_key_of(&memory->fragment_key, context, packet);
	first = bpf_map_lookup_elem(&fragments, &memory->fragment_key);
	if (!first || expired(first->expires))
		return false;
	packet->protocol = first->protocol;
	packet->source_port = first->source_port;
	packet->destination_port = first->destination_port;
	packet->icmp_type = first->icmp_type;
	packet->echo = first->echo;
	packet->tcp_flags = packet->protocol == IPPROTO_TCP ? TCP_ACK : 0;
	return true;
}

#endif
