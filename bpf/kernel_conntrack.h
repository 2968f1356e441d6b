/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which side opened a TCP connection that is not in the flow table, by the kernel's own conntrack and the pod's own socket:
 * connections that are older than the pod's isolation, or that the table has lost. Only in programs built with CONNTRACK_EVIDENCE;
 * the program defines hook_ct_lookup, its hook's variant of the kernel's function.
 */
#ifndef WEIR_KERNEL_CONNTRACK_H
#define WEIR_KERNEL_CONNTRACK_H

#include "conntrack.h"
#include "packet_verdict.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "counters.h"

/* The fields read from the kernel's structs. Their real offsets are relocated when the program is loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct nf_conntrack_zone {
	__u16 id;
};

struct ip_ct_tcp_state {
	__u8 flags;
};

struct ip_ct_tcp {
	struct ip_ct_tcp_state seen[2];
	__u8 state;
};

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
};

struct nf_conn {
	__u32 timeout;
	struct nf_conntrack_zone zone;
	unsigned long status;
	union nf_conntrack_proto proto;
};
#pragma clang attribute pop

/* As in Linux 6.1; later kernels accept it too, and then search the default zone. */
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

extern void bpf_ct_release(struct nf_conn *entry) __ksym;

#define THIS_NETNS (-1)

/* linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h: user-space ABI, so the numbers do not change. */
#define IPS_SEEN_REPLY (1 << 1)
#define IPS_ASSURED (1 << 2)
#define IPS_CONFIRMED (1 << 3)
#define IPS_DYING (1 << 9)
#define IPS_TEMPLATE (1 << 11)
#define IPS_UNTRACKED (1 << 12)
#define IPS_NEEDED (IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED)
#define IPS_EXCLUDED (IPS_DYING | IPS_TEMPLATE | IPS_UNTRACKED)
#define IP_CT_TCP_FLAG_BE_LIBERAL 0x08
#define TCP_CONNTRACK_ESTABLISHED 3
#define TCP_CONNTRACK_CLOSE_WAIT 5
#define IP_CT_DIR_ORIGINAL 0

/*
 * Whether the entry is of a connection that both sides opened by a handshake that conntrack has seen, and that neither side has
 * ended. ASSURED alone does not prove this: a connection picked up in mid-stream gets it too, and an attacker who can have an entry
 * closed early (a reset that conntrack sees and the pod does not) chooses which side sends first then. Those have the mark BE_LIBERAL.
 */
static __always_inline bool is_evidence(const struct nf_conn *entry)
{
	__u8 flags = entry->proto.tcp.seen[0].flags | entry->proto.tcp.seen[1].flags;
	__u8 state = entry->proto.tcp.state;

	/* An entry with a zone in one direction only has the other direction's tuple in the default zone. */
	if (__builtin_preserve_field_info(entry->zone, 2) && entry->zone.id != 0)
		return false;
	return (entry->status & (IPS_NEEDED | IPS_EXCLUDED)) == IPS_NEEDED && !(flags & IP_CT_TCP_FLAG_BE_LIBERAL) &&
	       state >= TCP_CONNTRACK_ESTABLISHED && state <= TCP_CONNTRACK_CLOSE_WAIT;
}

/* The packet's addresses and ports as the pod sees them, local first. Returns the size. */
static __always_inline __u32 tuple_of(struct bpf_sock_tuple *tuple, const struct packet *packet, bool out)
{
	const struct address_v6 *local = out ? &packet->source : &packet->destination;
	const struct address_v6 *remote = out ? &packet->destination : &packet->source;
	__be16 local_port = out ? packet->source_port : packet->destination_port;
	__be16 remote_port = out ? packet->destination_port : packet->source_port;

	if (!is_v6(packet)) {
		tuple->ipv4.saddr = local->low;
		tuple->ipv4.daddr = remote->low;
		tuple->ipv4.sport = local_port;
		tuple->ipv4.dport = remote_port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, local, sizeof(*local));
	__builtin_memcpy(tuple->ipv6.daddr, remote, sizeof(*remote));
	tuple->ipv6.sport = local_port;
	tuple->ipv6.dport = remote_port;
	return sizeof(tuple->ipv6);
}

/*
 * Whether the pod has this connection. A conntrack entry may belong to an earlier pod that had the address, for days, and any host
 * can keep it alive by sending to it. The tuple is reversed: a socket is looked up by the packet that it would receive.
 */
static __always_inline bool has_socket(hook_context *hook, const struct context *context, const struct packet *packet,
				       struct bpf_sock_tuple *tuple)
{
	struct bpf_sock *socket;
	bool found;
	__u32 size;

	if (!context->endpoint->netns)
		return false;
	size = tuple_of(tuple, packet, context->direction == DIRECTION_INGRESS);
	socket = size == sizeof(tuple->ipv4)
			 ? bpf_skc_lookup_tcp(hook, tuple, sizeof(tuple->ipv4), context->endpoint->netns - 1, 0)
			 : bpf_skc_lookup_tcp(hook, tuple, sizeof(tuple->ipv6), context->endpoint->netns - 1, 0);
	if (!socket)
		return false;
	found = socket->state == BPF_TCP_ESTABLISHED || socket->state == BPF_TCP_FIN_WAIT1 ||
		socket->state == BPF_TCP_FIN_WAIT2 || socket->state == BPF_TCP_CLOSE_WAIT;
	bpf_sk_release(socket);
	return found;
}

#define NO_EVIDENCE (-1)

/* Which side opened the packet's connection, and in `ticks` how long conntrack will keep its entry; or NO_EVIDENCE. */
static __always_inline int opener_by_evidence(hook_context *hook, const struct context *context,
					      const struct packet *packet, __u32 *ticks)
{
	struct bpf_ct_opts options = { .netns_id = THIS_NETNS, .l4proto = IPPROTO_TCP };
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *entry;
	__s32 left;
	bool good;

	if (tuple_of(&tuple, packet, context->direction == DIRECTION_EGRESS) == sizeof(tuple.ipv4))
		entry = hook_ct_lookup(hook, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	else
		entry = hook_ct_lookup(hook, &tuple, sizeof(tuple.ipv6), &options, sizeof(options));
	if (!entry)
		return NO_EVIDENCE;
	good = is_evidence(entry);
	left = (__s32)(entry->timeout - (__u32)now());
	bpf_ct_release(entry);
	if (!good || left <= 0 || !has_socket(hook, context, packet, &tuple))
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
	flow_prepare(&context, packet, opener & 1, 0, REASON_POLICY);
	data = flows->data;
	expires = flow_time(context.node, now() + left) + 1;
	flows->data = flow_data(expires < flow_expires(data) ? expires : flow_expires(data), context.generation - 1,
				flow_state(data), opener & 1);
	return 1;
}

#endif
