// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tc programs on the host side of a pod's veth: to_pod on its egress hook, from_pod on its ingress hook.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef struct __sk_buff hook_context;

static __always_inline __u32 interface_of(const struct __sk_buff *skb)
{
	return skb->ifindex;
}

static __always_inline __u32 hook_bytes(const struct __sk_buff *skb)
{
	return skb->len;
}

static __always_inline __u32 hook_counted(const struct __sk_buff *skb)
{
	return skb->len;
}

static __always_inline bool hook_ipv6(const struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IPV6);
}

static __always_inline bool hook_linearise(struct __sk_buff *skb, __u32 bytes)
{
	return bpf_skb_pull_data(skb, bytes) == 0;
}

/* The kernel's number of the node's network namespace; 0 where programs at this hook cannot compare it (before Linux 6.13). */
const volatile __u64 node_netns = 0;

/*
 * A packet without an ingress interface whose socket is in another network namespace comes from a device that a pod has on the node's: a
 * macvlan over the pods' bridge. Without a socket are what the kernel sends by itself, and segments of a large packet.
 */
static __always_inline bool hook_local(struct __sk_buff *skb)
{
	if (skb->ingress_ifindex != 0)
		return false;
	return !node_netns || !skb->sk || bpf_get_netns_cookie(skb) == node_netns;
}

/*
 * The ingress interface is the last one whose device passed the packet to the stack: on a bridge that is the bridge itself, unless
 * bridge netfilter has redirected the packet to a port.
 */
static __always_inline bool hook_returned(const struct __sk_buff *skb)
{
	return skb->ingress_ifindex == skb->ifindex;
}

static __always_inline bool hook_owned(const struct __sk_buff *skb)
{
	return skb->sk != NULL;
}

#ifdef CONNTRACK_EVIDENCE
struct nf_conn;
struct bpf_ct_opts;
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct bpf_ct_opts *options, __u32 options_size) __ksym;
#define hook_ct_lookup bpf_skb_ct_lookup
#endif

#include "datapath.h"

/* TC_ACT_UNSPEC is TCX_NEXT: other programs on the hook run too. */
static __always_inline int filter(struct __sk_buff *skb, enum direction direction)
{
	return lets_pass(skb, direction) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
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
