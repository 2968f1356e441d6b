// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tc programs on the host side of a pod's veth: to_pod on its egress hook, from_pod on its ingress hook.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef struct __sk_buff hook_context;

/* The interface whose packet it is; decide.h asks too. */
static __always_inline __u32 interface_of(const hook_context *skb)
{
	return skb->ifindex;
}

#include "verdict.h"

#define HEADERS_MAX 512 /* bytes made contiguous where the headers do not stand in the linear part */

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

static __always_inline int filter(struct __sk_buff *skb, enum direction direction)
{
	struct context context = {
		.ifindex = interface_of(skb),
		.bytes = skb->len,
		.direction = direction,
	};
	enum reason reason = REASON_UNKNOWN;
	enum parsed parsed;
	struct packet packet;
	struct cursor cursor;

	if (!look_up(&context))
		return TC_ACT_SHOT;
	context.local = direction == DIRECTION_INGRESS && skb->ingress_ifindex == 0;
	context.owned = context.local && skb->sk;
	if (context.endpoint) {
		parsed = parse_skb(skb, &cursor, &packet);
		reason = parsed == PARSED_IP ? verdict(&context, &packet, &cursor)
					     : verdict_without(skb, &context, parsed);
	}
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
