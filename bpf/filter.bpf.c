// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tc programs on the host side of a pod's veth: to_pod on its egress hook, from_pod on its ingress hook.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_core_read.h>
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

static __always_inline bool hook_load(struct __sk_buff *skb, __u32 at, void *to, __u32 bytes)
{
	return bpf_skb_load_bytes(skb, at, to, bytes) == 0;
}

static __always_inline __u32 hook_segment(const struct __sk_buff *skb)
{
	return skb->gso_size;
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

/* Of the kernel's, those that __sk_buff does not show. */
struct sk_buff {
	unsigned long _nfct;
	__u16 csum_start; /* from the head of the buffer, as mac_header */
	__u16 csum_offset;
	__u16 mac_header;
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

/* Of Linux 6.2. Whether it exists is not asked: Linux 6.2 and 6.3 reject a program that has its address. Of 6.4 on, which has struct bpf_iter_num. */
extern void *bpf_cast_to_kern_ctx(void *skb) __ksym __weak;

struct bpf_iter_num {
	__u64 opaque[1];
} __attribute__((preserve_access_index));

#define SUMMED_LATER 3 /* CHECKSUM_PARTIAL */

/* False before Linux 6.4, which does not show it. */
static __always_inline bool hook_checksum(struct __sk_buff *skb, __u32 *start, __u32 *field)
{
	const struct sk_buff *packet;

	if (!bpf_core_type_exists(struct bpf_iter_num))
		return false;
	packet = bpf_cast_to_kern_ctx(skb);
	if (BPF_CORE_READ_BITFIELD(packet, ip_summed) != SUMMED_LATER)
		return false;
	*start = (__u16)(packet->csum_start - packet->mac_header);
	*field = *start + packet->csum_offset;
	return true;
}

#ifdef CONNTRACK_EVIDENCE
struct nf_conn;
struct bpf_ct_opts;
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct bpf_ct_opts *options, __u32 options_size) __ksym;
#define hook_ct_lookup bpf_skb_ct_lookup

/* The packet's entry in the kernel's conntrack, and how it relates to that in the lowest bits. 0 if netfilter has not seen the packet. */
static __always_inline unsigned long attached_conntrack(struct __sk_buff *skb)
{
	const struct sk_buff *packet;

	if (!bpf_core_type_exists(struct bpf_iter_num))
		return 0;
	packet = bpf_cast_to_kern_ctx(skb);
	return packet->_nfct;
}
#ifndef hook_conntrack
#define hook_conntrack attached_conntrack
#endif
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

static __always_inline void key_of_request(const struct flow_request *request, struct flow_target *target)
{
	__u64 owner = request->owner | (__u64)request->local_port << 32 | (__u64)request->remote_port << 48;

	if (request->family == COUNTED_IPV6)
		key_of_v6(target, owner, &request->local, &request->remote);
	else
		key_of_v4(target, owner, request->local.low, request->remote.low);
}

/* Whether an insertion found a live entry whose opener an answer has made up: only without TCP does an answer make a flow. */
static __always_inline bool opened_by_answer(const struct flow_request *request, const struct flow_scratch *memory)
{
	return (__u8)request->owner != IPPROTO_TCP && flow_opener(memory->choice.seen) != (request->opener & 1);
}

/* A global function, so that the verifier follows an insertion once, not for each place that asks for one. */
__noinline int insert_requested(__u32 v6, __u64 data, __u32 now, __u32 tenant)
{
	return insert(v6 ? COUNTED_IPV6 : COUNTED_IPV4, data, now, tenant);
}

/* Answers one request; its key is in the scratch. */
static __always_inline int answer(const struct flow_request *request, struct flow_scratch *memory)
{
	bool v6 = request->family == COUNTED_IPV6;
	__u32 zero = 0, time, tenant = request->tenant & (TENANTS - 1);
	const struct node *here = bpf_map_lookup_elem(&node, &zero);
	__u64 data;
	int result;

	if (!here)
		return FLOW_REFUSED;
	time = flow_time(here, now());
	key_of_request(request, &memory->target);
	if (request->operation == FLOW_REMOVE) {
		/* Also one that has expired. */
		if (!(v6 ? search_v6(0) : search_v4(0)))
			return FLOW_ABSENT;
		/* Refused if a packet has refreshed it meanwhile. */
		return change_flow(&memory->flow, request->family, freed(memory->flow.seen)) ? FLOW_DONE : FLOW_REFUSED;
	}
	if (request->operation == FLOW_ADD)
		tenant |= FLOW_ONLY_NEW;
	data = flow_data(request->expires < FLOW_EPOCH ? 0 : flow_time(here, request->expires), request->generation,
			 request->state, request->opener);
	result = insert_requested(v6, data, time, tenant);
	if (result != FLOW_EXISTS || !opened_by_answer(request, memory))
		return result;
	/* The insertion has replaced the key's words by those of its entry. */
	key_of_request(request, &memory->target);
	return insert_requested(v6, data, time, tenant & (TENANTS - 1));
}

/*
 * Never attached: user space runs it on a frame of requests, each a struct flow_request, to change the flow table. Before Linux 6.3 packets
 * interrupt such a run: the loader gives this program a scratch that no other has.
 */
SEC("tc")
int flow_requests(struct __sk_buff *skb)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();

	if (!memory)
		return 0;
	for (__u32 i = 0; i < FLOW_REQUESTS; i++) {
		struct flow_request *request = (void *)(long)skb->data + i * sizeof(*request);

		if ((void *)(request + 1) > (void *)(long)skb->data_end)
			break;
		if (request->operation != FLOW_NOTHING)
			request->result = answer(request, memory);
	}
	return 0;
}

/*
 * Never attached: user space runs it on a frame that begins with the new generation. One atomic store, which a packet sees as a whole and after
 * all that was written before; an update of the map's value is a copy of no particular order.
 */
SEC("tc")
int activate(struct __sk_buff *skb)
{
	__u32 *generation = (void *)(long)skb->data;
	__u32 zero = 0;
	struct node *here = bpf_map_lookup_elem(&node, &zero);

	if (!here || (void *)(generation + 1) > (void *)(long)skb->data_end)
		return 0;
	__sync_lock_test_and_set(&here->generation, *generation);
	return 1;
}

/* Never attached: the loader runs it to measure the rate of jiffies. */
SEC("tc")
int clock(__attribute__((unused)) struct __sk_buff *skb)
{
	return (int)now();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
