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

static __always_inline enum parsed parse(struct cursor *cursor, struct packet *packet)
{
	__be16 protocol;

	if (!parse_ethernet(cursor, &protocol))
		return PARSED_MALFORMED;
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(cursor, packet);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(cursor, packet);
	return protocol == bpf_htons(ETH_P_ARP) ? PARSED_ARP : PARSED_UNSUPPORTED;
}

/* Parses what is linear, and once more after making the headers linear where they were not. */
static __always_inline enum parsed parse_skb(struct __sk_buff *skb, struct cursor *cursor, struct packet *packet)
{
	enum parsed parsed;

	*cursor = (struct cursor){ .context = skb, .at = (void *)(long)skb->data, .end = (void *)(long)skb->data_end };
	parsed = parse(cursor, packet);
	if (parsed != PARSED_MALFORMED || skb->data_end - skb->data >= skb->len)
		return parsed;
	if (bpf_skb_pull_data(skb, skb->len < HEADERS_MAX ? skb->len : HEADERS_MAX))
		return PARSED_MALFORMED;
	*packet = (struct packet){};
	*cursor = (struct cursor){ .context = skb, .at = (void *)(long)skb->data, .end = (void *)(long)skb->data_end };
	return parse(cursor, packet);
}

/* What an endpoint that is isolated in neither direction lets through: everything but spoofed addresses. */
static __always_inline enum reason verdict(struct __sk_buff *skb, const struct context *context)
{
	struct packet packet = {};
	struct cursor cursor;
	enum parsed parsed = parse_skb(skb, &cursor, &packet);
	bool v6 = parsed == PARSED_IPV6;

	if (parsed == PARSED_ARP || (v6 && is_neighbour_discovery(&packet)))
		return REASON_NEIGHBOUR;
	if (parsed == PARSED_MALFORMED || parsed == PARSED_UNSUPPORTED) {
		if (!isolated(context, context->direction))
			return REASON_NOT_ISOLATED;
		return parsed == PARSED_MALFORMED ? REASON_MALFORMED : REASON_UNSUPPORTED;
	}
	if (v6 ? spoofed(context, &packet, true) : spoofed(context, &packet, false))
		return REASON_SPOOFED;
	if (!tracked(context))
		return context->local ? REASON_NODE : REASON_NOT_ISOLATED;
	return v6 ? decide(context, &packet, &cursor, true) : decide(context, &packet, &cursor, false);
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
