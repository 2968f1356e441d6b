// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tc programs on the host side of a pod's veth: to_pod on its egress hook, from_pod on its ingress hook.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef struct __sk_buff hook_context;

#include "conntrack.h"
#include "decide.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "report.h"
#include "source.h"

#define HEADERS_MAX 512 /* bytes made contiguous where the headers do not stand in the linear part */

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

/* Whether what is to be read, the packet that an ICMP error quotes included, may go on in the part that is not linear. */
static __always_inline bool is_cut(const struct __sk_buff *skb, enum parsed parsed, const struct packet *packet)
{
	__u32 linear = skb->data_end - skb->data;

	if (linear >= skb->len || linear >= HEADERS_MAX)
		return false;
	return parsed != PARSED_IP || is_icmp_error(packet);
}

/* Parses what is linear, and once more after making the headers linear where they were not. */
static __always_inline enum parsed parse_twice(struct __sk_buff *skb, struct cursor *cursor, struct packet *packet)
{
	enum parsed parsed;

	*cursor = cursor_at_start(skb);
	parsed = parse(cursor, packet);
	if (!is_cut(skb, parsed, packet))
		return parsed;
	if (bpf_skb_pull_data(skb, skb->len < HEADERS_MAX ? skb->len : HEADERS_MAX))
		return PARSED_MALFORMED;
	*packet = (struct packet){};
	*cursor = cursor_at_start(skb);
	return parse(cursor, packet);
}

static __always_inline enum parsed parse_skb(struct __sk_buff *skb, struct cursor *cursor, struct packet *packet)
{
	struct packet found = {}, *there = &found;
	enum parsed parsed;

	/* Hides where it is from the compiler, which else keeps every field in a place of its own for each way to fail. */
	asm volatile("" : "+r"(there));
	parsed = parse_twice(skb, cursor, there);
	if (parsed != PARSED_IP)
		return parsed;
	*packet = *there;
	return PARSED_IP;
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
static __always_inline enum reason verdict_without(struct __sk_buff *skb, const struct context *context,
						   enum parsed parsed)
{
	struct cursor cursor = cursor_at_start(skb);
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
static __always_inline enum reason verdict(struct __sk_buff *skb, struct context *context)
{
	struct packet packet;
	struct cursor cursor;
	enum parsed parsed = parse_skb(skb, &cursor, &packet);

	if (parsed != PARSED_IP)
		return verdict_without(skb, context, parsed);
	if (is_v6(&packet)) {
		packet.family = FAMILY_IPV6;
		return verdict_of(context, &packet, &cursor);
	}
	packet.family = FAMILY_IPV4;
	return verdict_of(context, &packet, &cursor);
}

static __always_inline int filter(struct __sk_buff *skb, enum direction direction)
{
	__u32 zero = 0;
	struct context context = {
		.node = bpf_map_lookup_elem(&node, &zero),
		.ifindex = skb->ifindex,
		.bytes = skb->len,
		.direction = direction,
	};
	enum reason reason = REASON_UNKNOWN;

	if (!context.node)
		return TC_ACT_SHOT;
	context.generation = context.node->generation;
	context.version = context.generation & 1;
	context.local = direction == DIRECTION_INGRESS && skb->ingress_ifindex == 0;
	context.owned = context.local && skb->sk;
	context.endpoint = endpoint_of(context.ifindex);
	if (context.endpoint)
		reason = verdict(skb, &context);
	count(&context, reason);
	/* TC_ACT_UNSPEC is TCX_NEXT: other programs on the hook have their say too. */
	return passes(reason) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	return filter(skb, DIRECTION_EGRESS);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	return filter(skb, DIRECTION_INGRESS);
}

/* Never attached: the loader runs it to measure the rate of jiffies. */
SEC("tc")
int clock(__attribute__((unused)) struct __sk_buff *skb)
{
	return (int)now();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
