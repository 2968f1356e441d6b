// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The XDP programs: from_pod_xdp on the host side of a pod's veth, in the place of from_pod; from_uplink on the node's own
 * interfaces to the outside.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ethernet.h"

typedef struct xdp_md hook_context;

static __always_inline __u32 interface_of(const struct xdp_md *xdp)
{
	return xdp->ingress_ifindex;
}

static __always_inline __u32 hook_bytes(struct xdp_md *xdp)
{
	return bpf_xdp_get_buff_len(xdp);
}

static __always_inline bool hook_ipv6(const struct xdp_md *xdp)
{
	const struct ethhdr *ethernet = (void *)(long)xdp->data;

	return (void *)(ethernet + 1) <= (void *)(long)xdp->data_end &&
	       ethernet_type(ethernet) == bpf_htons(ETH_P_IPV6);
}

/* Whether the frame's first part contains a whole, untagged IP packet. */
static __always_inline bool is_linear(const struct xdp_md *xdp)
{
	const struct ethhdr *ethernet = (void *)(long)xdp->data;
	const struct iphdr *v4 = (const void *)(ethernet + 1);
	const struct ipv6hdr *v6 = (const void *)(ethernet + 1);
	void *end = (void *)(long)xdp->data_end;
	__u32 linear = xdp->data_end - xdp->data;

	if ((void *)(v4 + 1) > end)
		return false;
	/* Compares numbers: the verifier of Linux 6.1 has no bounds for a byte-swapped number, so none may be added to a pointer. */
	if (ethernet_type(ethernet) == bpf_htons(ETH_P_IP))
		return sizeof(*ethernet) + bpf_ntohs(v4->tot_len) <= linear;
	return ethernet_type(ethernet) == bpf_htons(ETH_P_IPV6) && (void *)(v6 + 1) <= end &&
	       sizeof(*ethernet) + sizeof(*v6) + bpf_ntohs(v6->payload_len) <= linear;
}

#define FIRST_PART_MIN                                                                                                 \
	2048 /* bytes of the first part, where a driver splits frames for no other reason than their length */

/*
 * Reading the length from the kernel costs 8 ns, a third of a packet's cost here. It is skipped if there cannot be
 * more than the first part, except for padding, which does not occur in practice.
 */
static __always_inline __u32 hook_counted(struct xdp_md *xdp)
{
	__u32 linear = xdp->data_end - xdp->data;

	return linear < FIRST_PART_MIN && is_linear(xdp) ? linear : bpf_xdp_get_buff_len(xdp);
}

/* XDP has no helper for it. A veth copies frames with several parts; the first part is then as long as a page allows. */
static __always_inline bool hook_linearise(__attribute__((unused)) struct xdp_md *xdp,
					   __attribute__((unused)) __u32 bytes)
{
	return false;
}

static __always_inline bool hook_load(struct xdp_md *xdp, __u32 at, void *to, __u32 bytes)
{
	return bpf_xdp_load_bytes(xdp, at, to, bytes) == 0;
}

static __always_inline __u32 hook_segment(__attribute__((unused)) const struct xdp_md *xdp)
{
	return 0;
}

/* XDP sees only what has come in. */
static __always_inline bool hook_local(__attribute__((unused)) const struct xdp_md *xdp)
{
	return false;
}

static __always_inline bool hook_returned(__attribute__((unused)) const struct xdp_md *xdp)
{
	return false;
}

static __always_inline bool hook_owned(__attribute__((unused)) const struct xdp_md *xdp)
{
	return false;
}

/* XDP does not show it. */
static __always_inline bool hook_checksum(__attribute__((unused)) const struct xdp_md *xdp,
					  __attribute__((unused)) __u32 *start, __attribute__((unused)) __u32 *field)
{
	return false;
}

#ifdef CONNTRACK_EVIDENCE
struct nf_conn;
struct bpf_ct_opts;
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *xdp, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct bpf_ct_opts *options, __u32 options_size) __ksym;
#define hook_ct_lookup bpf_xdp_ct_lookup
#endif

#include "uplink.h"
#include "datapath.h"

/* The section declares support for frames in several parts: without it, no veth with a large MTU would accept the program. */
SEC("xdp.frags")
int from_pod_xdp(struct xdp_md *xdp)
{
	return lets_pass(xdp, DIRECTION_EGRESS) ? XDP_PASS : XDP_DROP;
}

SEC("xdp.frags")
int from_uplink(struct xdp_md *xdp)
{
	__u32 bytes = hook_counted(xdp);
	enum screened screened = screen(xdp, bytes);

	count_screened(screened, bytes);
	return screened < SCREENED_DROPS ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
