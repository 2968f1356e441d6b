/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel's own conntrack, and the pod's own socket, show about a TCP connection. Only in programs built with
 * CONNTRACK_EVIDENCE; the program defines hook_ct_lookup, its hook's variant of the kernel's function, and hook_conntrack.
 */
#ifndef WEIR_KERNEL_CONNTRACK_H
#define WEIR_KERNEL_CONNTRACK_H

#include "counters.h"
#include "layout.h"
#include "packet.h"

#include <bpf/bpf_core_read.h>

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

union nf_inet_addr {
	__u32 all[4];
};

union nf_conntrack_man_proto {
	__be16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	__u32 timeout;
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
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

/* Of Linux 6.2: without it, packets are assigned to no connection. */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

#define THIS_NETNS (-1)
#define NFCT_INFO_MASK 7UL /* linux/skbuff.h: the lowest bits of sk_buff._nfct */

/* linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h: user-space ABI, so the numbers do not change. */
#define IPS_SEEN_REPLY (1 << 1)
#define IPS_ASSURED (1 << 2)
#define IPS_CONFIRMED (1 << 3)
#define IPS_DYING (1 << 9)
#define IPS_TEMPLATE (1 << 11)
#define IPS_UNTRACKED (1 << 12)
#define IPS_NEEDED (IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED)
#define IPS_EXCLUDED (IPS_DYING | IPS_TEMPLATE | IPS_UNTRACKED)
#define IP_CT_TCP_FLAG_CLOSE_INIT 0x04
#define IP_CT_TCP_FLAG_BE_LIBERAL 0x08
#define TCP_CONNTRACK_SYN_SENT 1
#define TCP_CONNTRACK_ESTABLISHED 3
#define TCP_CONNTRACK_CLOSE_WAIT 5
#define TCP_CONNTRACK_TIME_WAIT 7
#define IP_CT_DIR_ORIGINAL 0
#define IP_CT_DIR_REPLY 1
#define IP_CT_ESTABLISHED 0
#define IP_CT_RELATED 1
#define IP_CT_NEW 2

/* What counts of an entry, wherever it was read from. */
struct entry_facts {
	unsigned long status;
	__u32 zone;
	__u8 flags; /* of both directions */
	__u8 state;
};

/* Whether the entry is in the default zone, confirmed, and not of a connection that was picked up in mid-stream. */
static __always_inline bool is_whole(const struct entry_facts *entry)
{
	/* An entry with a zone in one direction only has the other direction's tuple in the default zone. */
	return !entry->zone && (entry->status & (IPS_CONFIRMED | IPS_EXCLUDED)) == IPS_CONFIRMED &&
	       !(entry->flags & IP_CT_TCP_FLAG_BE_LIBERAL);
}

/*
 * Whether the entry is of a connection that both sides opened by a handshake that conntrack has seen, and that neither side has
 * ended. ASSURED alone does not prove this: a connection picked up in mid-stream gets it too, and an attacker who can have an entry
 * closed early (a reset that conntrack sees and the pod does not) chooses which side sends first then. Those have the mark BE_LIBERAL.
 */
static __always_inline bool is_evidence(const struct entry_facts *entry)
{
	return is_whole(entry) && (entry->status & IPS_NEEDED) == IPS_NEEDED &&
	       entry->state >= TCP_CONNTRACK_ESTABLISHED && entry->state <= TCP_CONNTRACK_CLOSE_WAIT;
}

/* Whether such a connection has been ended by both sides. Not by a reset: the pod may never have seen it. */
static __always_inline bool has_ended(const struct entry_facts *entry)
{
	return is_whole(entry) && (entry->status & IPS_NEEDED) == IPS_NEEDED &&
	       entry->state > TCP_CONNTRACK_CLOSE_WAIT && entry->state <= TCP_CONNTRACK_TIME_WAIT;
}

/* The facts of an entry that has been looked up. */
static __always_inline void facts_of(struct entry_facts *facts, const struct nf_conn *entry)
{
	facts->status = entry->status;
	facts->zone = __builtin_preserve_field_info(entry->zone, 2) ? entry->zone.id : 0;
	facts->flags = entry->proto.tcp.seen[0].flags | entry->proto.tcp.seen[1].flags;
	facts->state = entry->proto.tcp.state;
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
 * Whether a pod's network namespace has a connection. A conntrack entry may belong to an earlier pod that had the address, for days, and any host
 * can keep it alive by sending to it. A socket is looked up by the packet that it would receive: `tuple` has the pod's address last. One whose
 * handshake lacks the last segment counts if `opening`.
 */
static __always_inline bool has_socket(hook_context *hook, const struct endpoint *endpoint,
				       struct bpf_sock_tuple *tuple, bool v6, bool opening)
{
	struct bpf_sock *socket;
	bool found;

	if (!endpoint->netns)
		return false;
	socket = v6 ? bpf_skc_lookup_tcp(hook, tuple, sizeof(tuple->ipv6), endpoint->netns - 1, 0)
		    : bpf_skc_lookup_tcp(hook, tuple, sizeof(tuple->ipv4), endpoint->netns - 1, 0);
	if (!socket)
		return false;
	found = socket->state == BPF_TCP_ESTABLISHED || socket->state == BPF_TCP_FIN_WAIT1 ||
		socket->state == BPF_TCP_FIN_WAIT2 || socket->state == BPF_TCP_CLOSE_WAIT ||
		(opening && socket->state == BPF_TCP_NEW_SYN_RECV);
	bpf_sk_release(socket);
	return found;
}

/* How the kernel's conntrack has assigned a packet to the pod, by the entry that netfilter has attached to it. */
enum assigned {
	ASSIGNED_NONE,
	ASSIGNED_OPENING, /* to a connection that its sender opens with this packet */
	ASSIGNED_OPEN,    /* to one that its sender has opened; find_evidence() would find the entry */
	ASSIGNED_ENDED,   /* to one that its sender has opened, and that both sides or a reset have ended */
	ASSIGNED_ERROR,   /* an error about what the pod has sent on a connection that the other side opened */
};

#ifdef hook_conntrack
/*
 * The facts of the entry at an address. In parts, since libbpf finds two types that are called nf_conn; the status, an unsigned long, through a type
 * that has one. Not by bpf_probe_read_kernel(), which a kernel in lockdown refuses.
 */
static __always_inline void facts_at(struct entry_facts *facts, unsigned long address)
{
	const struct nf_conn *entry = (const void *)address;
	const struct nf_conntrack_zone *zone;
	const struct sk_buff *status;
	const struct ip_ct_tcp *tcp;

	facts->zone = 0;
	if (__builtin_preserve_field_info(entry->zone, 2)) {
		zone = bpf_rdonly_cast(&entry->zone, bpf_core_type_id_kernel(struct nf_conntrack_zone));
		facts->zone = zone->id;
	}
	tcp = bpf_rdonly_cast(&entry->proto.tcp, bpf_core_type_id_kernel(struct ip_ct_tcp));
	facts->flags = tcp->seen[0].flags | tcp->seen[1].flags;
	facts->state = tcp->state;
	status = bpf_rdonly_cast((const void *)&entry->status - bpf_core_field_offset(struct sk_buff, _nfct),
				 bpf_core_type_id_kernel(struct sk_buff));
	facts->status = status->_nfct;
}

/* No look-up: the entry is the packet's own, and netfilter has just used it. A packet that has met no conntrack, or NOTRACK, has none. */
static __always_inline enum assigned assigned_by_conntrack(hook_context *hook)
{
	unsigned long attached = hook_conntrack(hook);
	struct entry_facts entry;

	if (attached <= NFCT_INFO_MASK)
		return ASSIGNED_NONE;
	facts_at(&entry, attached & ~NFCT_INFO_MASK);
	switch (attached & NFCT_INFO_MASK) {
	case IP_CT_NEW:
		return is_whole(&entry) && entry.state == TCP_CONNTRACK_SYN_SENT ? ASSIGNED_OPENING : ASSIGNED_NONE;
	case IP_CT_ESTABLISHED:
		if (is_evidence(&entry))
			return ASSIGNED_OPEN;
		return has_ended(&entry) ? ASSIGNED_ENDED : ASSIGNED_NONE;
	case IP_CT_RELATED:
		return is_evidence(&entry) ? ASSIGNED_ERROR : ASSIGNED_NONE;
	default:
		return ASSIGNED_NONE;
	}
}
#else
static __always_inline enum assigned assigned_by_conntrack(__attribute__((unused)) hook_context *hook)
{
	return ASSIGNED_NONE;
}
#endif

#endif
