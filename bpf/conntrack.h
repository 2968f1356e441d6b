/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows: one entry for both directions, keyed by the pod's incarnation and seen from the pod. Expiry is lazy, in flow time. Every
 * entry carries a stamp of the policy generation under which it was last judged.
 */
#ifndef WEIR_CONNTRACK_H
#define WEIR_CONNTRACK_H

#include "layout.h"
#include "maps.h"
#include "counters.h"
#include "flow_table.h"
#include "parse.h"
#include "transport.h"

/* A connection to a Service, and where the kernel takes it: see backend.h. */
struct backend {
	__be32 address[4]; /* IPv4's is the first word */
	__u32 number;      /* of the policy */
	__u32 version;
	__u32 identity;
	__u32 place;
	__be16 port;
	__u8 protocol;
	bool v6;
	bool syn;
	bool resolver; /* the policy is one that judges resolvers */
};

/* How the first value of the map `scratch` is used, since the stack would not hold it all. */
struct scratch_space {
	struct packet packet; /* that is not plain */
	struct packet quoted; /* in an ICMP error */
	struct fragment_key fragment_key;
	struct fragment fragment;
	struct bpf_sock_tuple tuple; /* of a socket or a conntrack entry that is looked up */
	struct backend backend;
};

static __always_inline struct scratch_space *scratch_of_cpu(void)
{
	__u32 place = SCRATCH_PACKET;

	_Static_assert(sizeof(struct scratch_space) <= sizeof(struct scratch), "it fits into scratch");
	return bpf_map_lookup_elem(&scratch, &place);
}

#define PARSED_BITS 2 /* of enum parsed */
#define PARSED_MASK ((1 << PARSED_BITS) - 1)

/*
 * Parses the linear part of the frame into the CPU's scratch. An enum parsed, and above it the offset at which it ended: that of an IP packet's
 * transport header. A global function, so that the verifier follows its paths once, and not before all that comes after it.
 */
__noinline int parse_frame(hook_context *hook)
{
	struct cursor cursor = cursor_at_start(hook);
	struct scratch_space *memory = scratch_of_cpu();
	enum parsed parsed;

	if (!memory)
		return PARSED_MALFORMED;
	memory->packet = (struct packet){};
	parsed = parse(&cursor, &memory->packet);
	return parsed | offset_of(&cursor) << PARSED_BITS;
}

/* Whether the frame is an IP packet; it is in the CPU's scratch then. */
static __always_inline bool parse_again(hook_context *hook)
{
	return (parse_frame(hook) & PARSED_MASK) == PARSED_IP;
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
static __always_inline void flow_key_of(struct flow_target *key, const struct context *context,
					const struct packet *packet, enum direction direction)
{
	bool out = direction == DIRECTION_EGRESS;
	const struct address_v6 *local = out ? &packet->source : &packet->destination;
	const struct address_v6 *remote = out ? &packet->destination : &packet->source;
	__be16 local_port = out ? packet->source_port : packet->destination_port;
	__be16 remote_port = out ? packet->destination_port : packet->source_port;
	__u64 first = context->endpoint->incarnation << 8 | packet->protocol;

	if (packet->echo)
		remote_port = is_echo_request(packet) == out;
	first |= (__u64)local_port << 32 | (__u64)remote_port << 48;
	if (is_v6(packet))
		key_of_v6(key, first, local, remote);
	else
		key_of_v4(key, first, local->low, remote->low);
}

static __always_inline enum counted_family family_of(const struct packet *packet)
{
	return is_v6(packet) ? COUNTED_IPV6 : COUNTED_IPV4;
}

/* The flow of a packet that goes in this direction, if it has not expired: by a global function, with the key in the scratch. */
static __always_inline bool flow_search(const struct context *context, const struct packet *packet,
					enum direction direction, struct flow *flow)
{
	__u32 time = flow_time(context->node, now());
	struct flow_scratch *memory = flow_scratch_of_cpu();

	if (!memory)
		return false;
	flow_key_of(&memory->target, context, packet, direction);
	if (!(is_v6(packet) ? search_v6(time) : search_v4(time)))
		return false;
	if (flow != &memory->flow)
		*flow = memory->flow;
	return true;
}

/* The same, by code of its own for the packets that come most. */
static __always_inline bool flow_find(const struct context *context, const struct packet *packet,
				      enum direction direction, struct flow *flow)
{
	struct flow_target target;

	/* With IPv6's key too, the program's stack would leave too little for the functions that it calls. */
	if (!context->plain || is_v6(packet))
		return flow_search(context, packet, direction, flow);
	flow_key_of(&target, context, packet, direction);
	return find_flow(flow, &target, COUNTED_IPV4, flow_time(context->node, now()));
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
		state &= FLOW_NODE | FLOW_OWN | FLOW_NAMED; /* a new connection between the same ports */
	if (!from_opener)
		state |= FLOW_REPLIED;
	else if (state & FLOW_REPLIED)
		state |= FLOW_CONFIRMED;
	if (packet->tcp_flags & TCP_FIN)
		state |= from_opener ? FLOW_FIN_OPENER : FLOW_FIN_OTHER;
	return state;
}

/* When a flow expires that has this state as of this packet; the unit that has begun does not count. */
static __always_inline __u32 expiry_of(const struct context *context, const struct packet *packet, __u8 state)
{
	return flow_time(context->node, now() + context->node->timeouts[timeout_of(state, packet)]) + 1;
}

/* What of a packet changes its flow's entry, in one number. */
#define SIGNS_FLAGS 8
#define SIGNS_MORE 16
#define SIGNS_DIRECTION 24
#define SIGNS_SCTP_INIT 25

static __always_inline __u32 signs_of(const struct context *context, const struct packet *packet, __u8 more)
{
	return packet->protocol | (__u32)packet->tcp_flags << SIGNS_FLAGS | (__u32)more << SIGNS_MORE |
	       (context->direction & 1) << SIGNS_DIRECTION | (__u32)packet->sctp_init << SIGNS_SCTP_INIT;
}

/*
 * An entry's data after a packet of its flow with these signs, in a generation. A global function, so that the verifier follows its cases once.
 */
__noinline __u64 data_after(__u64 data, __u32 signs, __u32 generation)
{
	struct packet packet = {
		.protocol = signs,
		.tcp_flags = signs >> SIGNS_FLAGS,
		.sctp_init = signs >> SIGNS_SCTP_INIT & 1,
	};
	__u32 zero = 0;
	struct context context = {
		.node = bpf_map_lookup_elem(&node, &zero),
		.direction = signs >> SIGNS_DIRECTION & 1,
	};
	__u32 expires;
	__u8 state;

	if (!context.node)
		return data;
	state = next_state(flow_state(data) | (__u8)(signs >> SIGNS_MORE), &packet,
			   flow_opener(data) == context.direction);
	expires = expiry_of(&context, &packet, state);
	/* A reset only moves the expiry forward: it does not keep a half-open connection. */
	if (packet.tcp_flags & TCP_RST && expires > flow_expires(data))
		expires = flow_expires(data);
	return flow_constants(data) << FLOW_OPENER_AT | flow_data(expires, generation, state, 0);
}

/* Whether both sides have sent packets, and neither is done. */
static __always_inline bool is_settled(__u8 state)
{
	return (state & ~FLOW_NAMED) == (FLOW_REPLIED | FLOW_CONFIRMED);
}

/* Whether the entry has already what a plain packet without a flag for its state would write: what holds for most packets of a unit. */
static __always_inline bool is_fresh(const struct context *context, const struct packet *packet, __u64 data)
{
	bool tcp = packet->protocol == IPPROTO_TCP;
	__u32 timeout = context->node->timeouts[tcp ? TIMEOUT_TCP_ESTABLISHED : TIMEOUT_UDP_STREAM];

	return context->plain && !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) && is_settled(flow_state(data)) &&
	       flow_stamp(data) == (context->generation & FLOW_STAMP_MASK) &&
	       flow_expires(data) == flow_time(context->node, now() + timeout) + 1;
}

/* Whether the packet does not change the state of a flow in which both sides have sent packets. */
static __always_inline bool is_steady(const struct packet *packet)
{
	return !packet->sctp_init && !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

/* Updates the entry for a packet of the flow. Writes only what changes: all CPUs share the entry, and most packets of a unit change nothing. */
static __always_inline void flow_refresh(const struct context *context, const struct packet *packet, struct flow *flow,
					 __u8 more)
{
	__u32 signs = signs_of(context, packet, more);

	if (!more && is_fresh(context, packet, flow->seen))
		return;
	/*
	 * What a pod sends does not refresh the flow that it opened with itself. Otherwise the entry might outlive the kernel's entry that returns
	 * the packet to the pod, and the packet would go to the address itself, which is a node's. A segment of no connection does no harm there.
	 */
	if (flow_state(flow->seen) & FLOW_OWN && context->direction == DIRECTION_EGRESS &&
	    packet->protocol != IPPROTO_TCP)
		return;
	/* Once more if another CPU has changed it: what this packet adds to the state must not be lost. */
	for (__u32 tries = 0; tries < 2; tries++)
		if (change_flow(flow, family_of(packet), data_after(flow->seen, signs, context->generation)))
			break;
}

/* Removes the flow's entry. Once more if another CPU has changed it. */
static __always_inline void flow_remove(const struct packet *packet, struct flow *flow)
{
	for (__u32 tries = 0; tries < 2; tries++)
		if (change_flow(flow, family_of(packet), freed(flow->seen)))
			break;
}

/* A flow with the given state and opener, as of this packet, under the current generation. */
static __always_inline __u64 flow_begin(const struct context *context, const struct packet *packet,
					enum direction opener, __u8 state)
{
	state = next_state(state, packet, opener == context->direction);
	return flow_data(expiry_of(context, packet, state), context->generation, state, opener);
}

/* Beside a reason: the packet's flow is in the CPU's flow scratch, and is inserted when everything else about the packet is known. */
#define OPENS (1 << REASON_BITS)

/* Prepares a flow with the given state and opener. Gives the reason and OPENS. */
static __always_inline int flow_prepare(const struct context *context, const struct packet *packet,
					enum direction opener, __u8 state, enum reason reason)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();

	if (!memory)
		return REASON_INCOMPLETE;
	flow_key_of(&memory->target, context, packet, context->direction);
	memory->data = flow_begin(context, packet, opener, state);
	memory->family = family_of(packet);
	memory->keeps = !is_opening(packet);
	return reason | OPENS;
}

/* Before a packet that opens a connection is judged: see fetch_buckets(). For plain ones, which nearly all are. */
static __always_inline void flow_expect(const struct context *context, const struct packet *packet)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();

	if (!context->plain || !memory || !memory->expected)
		return;
	flow_key_of(&memory->target, context, packet, context->direction);
	if (is_v6(packet))
		fetch_buckets_v6();
	else
		fetch_buckets_v4();
}

/*
 * Inserts the flow in the CPU's flow scratch. False if the table has no place for it. Only a packet that opens a connection replaces a live entry: one
 * that has missed an entry, which another CPU was just writing, must not become the flow's opener.
 */
static __always_inline bool flow_insert(const struct context *context)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();
	__u32 time = flow_time(context->node, now()), tenant = context->endpoint->tenant;

	if (!memory)
		return false;
	if (memory->keeps)
		tenant |= FLOW_ONLY_NEW;
	return insert(memory->family, memory->data, time, tenant) != FLOW_REFUSED;
}

/*
 * Keeps the entry of a denied flow for the UDP stream timeout, since a packet of the other side has just passed
 * by its own direction's policy. While the entry exists, that packet opens no flow of its own, through which the replies
 * of the denied side would pass. Denied packets do not refresh the entry. Its stamp moves to half a period ago: an entry that is kept for
 * longer than a period must not seem current when its stamp comes up again.
 */
static __always_inline void flow_entomb(const struct context *context, const struct packet *packet, struct flow *flow)
{
	__u32 expires = flow_time(context->node, now() + context->node->timeouts[TIMEOUT_UDP_STREAM]) + 1;
	__u32 stamp = context->generation - (1U << (FLOW_STAMP_BITS - 1));

	change_flow(flow, family_of(packet),
		    flow_constants(flow->seen) << FLOW_OPENER_AT |
			    flow_data(expires, stamp, flow_state(flow->seen), 0));
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
