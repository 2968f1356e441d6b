/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames on an uplink, before the kernel's stack sees them: their source, and whether that source is denied. For tunnelled
 * IP packets the outer header counts.
 */
#ifndef WEIR_UPLINK_H
#define WEIR_UPLINK_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "transport.h"

#define TAGS_MAX 8      /* VLAN tags that are parsed; the kernel itself has no limit */
#define FRAME_MASK 0xff /* no header that is read here begins beyond it */
#define AF_INET6 10     /* of <linux/socket.h>, which is not for programs */

/* Copies `size` bytes, a constant, from offset `at` of the frame; false if the frame is shorter. */
static __always_inline bool read_frame(struct xdp_md *xdp, __u32 at, void *to, __u32 size)
{
	void *from = (void *)(long)xdp->data + (at & FRAME_MASK);

	if (from + size <= (void *)(long)xdp->data_end) {
		__builtin_memcpy(to, from, size);
		return true;
	}
	/* A device with header split may have left some headers in another part. */
	return bpf_xdp_load_bytes(xdp, at & FRAME_MASK, to, size) == 0;
}

/* The type and offset of what follows the Ethernet header and its tags; false if the frame ends before. */
static __always_inline bool read_tags(struct xdp_md *xdp, __be16 *protocol, __u32 *at)
{
	*at = sizeof(struct ethhdr);
	if (!read_frame(xdp, *at - sizeof(*protocol), protocol, sizeof(*protocol)))
		return false;
	for (int i = 0; i < TAGS_MAX; i++) {
		if (!is_vlan(*protocol))
			break;
		*at += sizeof(struct vlan_header);
		if (!read_frame(xdp, *at - sizeof(*protocol), protocol, sizeof(*protocol)))
			return false;
	}
	return true;
}

/* Counts for the denied prefix of a source; false if the source is in none. */
static __always_inline bool count_denied(const __u32 *number, __u64 bytes)
{
	struct count *count_here;

	if (!number)
		return false;
	count_here = bpf_map_lookup_elem(&denied_counts, number);
	if (count_here) {
		count_here->packets++;
		count_here->bytes += bytes;
	}
	return true;
}

static __always_inline enum screened screen_v4(struct xdp_md *xdp, __u32 at, __u32 version, __u32 bytes)
{
	struct cidr_v4_key source = { .length = 32 };
	struct iphdr header;
	void *list;

	if (!read_frame(xdp, at, &header, sizeof(header)) || header.version != 4)
		return SCREENED_MALFORMED;
	source.address = header.saddr;
	list = bpf_map_lookup_elem(&denied_v4, &version);
	if (list && count_denied(bpf_map_lookup_elem(list, &source), bytes))
		return SCREENED_DENIED;
	return SCREENED_PASSED;
}

/* Neighbour discovery that has crossed no router: without it the link itself would not work. */
static __always_inline bool is_discovery(struct xdp_md *xdp, __u32 at, const struct ipv6hdr *header)
{
	struct {
		__u8 type;
		__u8 code;
	} icmp;

	if (header->nexthdr != IPPROTO_ICMPV6 || header->hop_limit != 255)
		return false;
	return read_frame(xdp, at + sizeof(*header), &icmp, sizeof(icmp)) && icmp.type >= ND_ROUTER_SOLICIT &&
	       icmp.type <= ND_REDIRECT && icmp.code == 0;
}

/* Whether the packet is for this link or this node, by the kernel's routes. Neighbour discovery is nothing else; the kernel forwards it like any packet. */
static __always_inline bool ends_here(struct xdp_md *xdp, const struct ipv6hdr *header, bool tagged)
{
	struct bpf_fib_lookup route = {
		.family = AF_INET6,
		.l4_protocol = IPPROTO_ICMPV6,
		.ifindex = xdp->ingress_ifindex,
	};
	const __u8 *to = header->daddr.in6_u.u6_addr8;

	if (to[0] == 0xff || (to[0] == 0xfe && (to[1] & 0xc0) == 0x80))
		return true;
	__builtin_memcpy(route.ipv6_src, &header->saddr, sizeof(route.ipv6_src));
	__builtin_memcpy(route.ipv6_dst, &header->daddr, sizeof(route.ipv6_dst));
	switch (bpf_fib_lookup(xdp, &route, sizeof(route), 0)) {
	case BPF_FIB_LKUP_RET_NOT_FWDED:
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return true;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		/* Of the uplink itself: a VLAN device above it may forward. */
		return !tagged;
	default:
		return false;
	}
}

static __always_inline enum screened screen_v6(struct xdp_md *xdp, __u32 at, __u32 version, __u32 bytes)
{
	struct cidr_v6_key source = { .length = 128 };
	struct ipv6hdr header;
	void *list;

	if (!read_frame(xdp, at, &header, sizeof(header)) || header.version != 6)
		return SCREENED_MALFORMED;
	if (is_discovery(xdp, at, &header) && ends_here(xdp, &header, at > sizeof(struct ethhdr)))
		return SCREENED_NEIGHBOUR;
	__builtin_memcpy(source.address, &header.saddr, sizeof(source.address));
	list = bpf_map_lookup_elem(&denied_v6, &version);
	if (list && count_denied(bpf_map_lookup_elem(list, &source), bytes))
		return SCREENED_DENIED;
	return SCREENED_PASSED;
}

static __always_inline enum screened screen(struct xdp_md *xdp, __u32 bytes)
{
	__u32 zero = 0, at, version;
	const struct uplink *settings = bpf_map_lookup_elem(&uplink, &zero);
	__be16 protocol;

	/* One version for both families: read once, so that a frame meets one list. */
	version = settings ? settings->version & 1 : 0;
	if (!read_tags(xdp, &protocol, &at))
		return SCREENED_MALFORMED;
	if (protocol == bpf_htons(ETH_P_IP))
		return screen_v4(xdp, at, version, bytes);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return screen_v6(xdp, at, version, bytes);
	if (protocol == bpf_htons(ETH_P_ARP))
		return SCREENED_NEIGHBOUR;
	return is_vlan(protocol) ? SCREENED_UNSUPPORTED : SCREENED_PASSED;
}

static __always_inline void count_screened(enum screened screened, __u64 bytes)
{
	__u32 zero = 0;
	struct uplink_counters *counters_here = bpf_map_lookup_elem(&uplink_counters, &zero);
	struct count *cell;

	if (!counters_here)
		return;
	cell = &counters_here->count[screened & (SCREENINGS - 1)];
	cell->packets++;
	cell->bytes += bytes;
}

#endif
