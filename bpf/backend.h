/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The backend to which the kernel takes a connection to a Service already. NAT decides about the first packet of a connection only: what is
 * behind the Service later says nothing about where the others go, and a tenant may write that. So this backend counts, too.
 * docs/decisions/0005.
 */
#ifndef WEIR_BACKEND_H
#define WEIR_BACKEND_H

#include "anti_spoofing.h"
#include "conntrack.h"
#include "counters.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "packet.h"
#include "policy.h"
#include "service.h"
#include "transport.h"
#ifdef CONNTRACK_EVIDENCE
#include "kernel_conntrack.h"

/*
 * Whether Services have the address, or have had it since the node's start: NAT goes on for the connections of a Service that is gone. A few other
 * addresses, too, for which conntrack is searched in vain. src/datapath/frontend-filter.ts sets the bits.
 */
static __always_inline bool may_be_frontend(const struct address_v6 *address)
{
	__u64 mixed = address->high ^ address->low;
	__u32 place = filter_bit((__u32)(mixed ^ mixed >> 32), FRONTEND_FILTER_BITS);
	__u32 index = place / (64 * FRONTEND_FILTER_WORDS);
	struct frontend_filter *filter = bpf_map_lookup_elem(&frontend_filter, &index);

	return !filter || filter->words[place / 64 & (FRONTEND_FILTER_WORDS - 1)] >> (place % 64) & 1;
}

/* Whether the address in the scratch is a node's, at a port that no Service has there: a nodePort, which is judged by the address alone. */
static __always_inline bool is_node_port(const struct scratch_space *memory, bool v6, __u8 protocol, __u32 version)
{
	const struct bpf_sock_tuple *tuple = &memory->tuple;
	struct address_v6 address;

	if (!v6)
		return find_service_v4(tuple->ipv4.daddr, place_of(protocol, tuple->ipv4.dport), version) ==
			       IDENTITY_ABSENT &&
		       is_source_v4(NODE_SCOPE, version, tuple->ipv4.daddr);
	__builtin_memcpy(&address, tuple->ipv6.daddr, sizeof(address));
	return find_service_v6(address.high, address.low, place_of(protocol, tuple->ipv6.dport), version) ==
		       IDENTITY_ABSENT &&
	       is_source_v6(NODE_SCOPE, version, address.high, address.low);
}

/*
 * Whether conntrack gives up the entry for a SYN, which then opens a connection of its own: after an orderly end. It does so after a reset by who opened
 * it, too, but a packet of the other side can take that back between this look and conntrack's own.
 */
static __always_inline bool is_reopened(const struct nf_conn *entry)
{
	return entry->proto.tcp.state == TCP_CONNTRACK_TIME_WAIT &&
	       (entry->proto.tcp.seen[0].flags | entry->proto.tcp.seen[1].flags) & IP_CT_TCP_FLAG_CLOSE_INIT;
}

/* Whether the backend in the scratch is the address and port to which the connection was opened: no NAT. Also IPVS writes its backend there, without a mark in the entry's status. */
static __always_inline bool is_at_frontend(const struct scratch_space *memory)
{
	const struct bpf_sock_tuple *tuple = &memory->tuple;
	const struct backend *backend = &memory->backend;

	if (!backend->v6)
		return tuple->ipv4.daddr == backend->address[0] && tuple->ipv4.dport == backend->port;
	return tuple->ipv6.daddr[0] == backend->address[0] && tuple->ipv6.daddr[1] == backend->address[1] &&
	       tuple->ipv6.daddr[2] == backend->address[2] && tuple->ipv6.daddr[3] == backend->address[3] &&
	       tuple->ipv6.dport == backend->port;
}

/*
 * Finds the backend to which the kernel takes the connection in the scratch, which the pod has opened. False if conntrack has no entry for it, or one
 * without NAT. A global function, for the stack, as the next one.
 */
__noinline int find_backend(hook_context *hook)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct bpf_ct_opts options = { .netns_id = THIS_NETNS };
	const struct nf_conntrack_man *backend;
	struct nf_conn *entry;
	bool led;

	if (!memory)
		return 0;
	options.l4proto = memory->backend.protocol;
	if (memory->backend.v6)
		entry = hook_ct_lookup(hook, &memory->tuple, sizeof(memory->tuple.ipv6), &options, sizeof(options));
	else
		entry = hook_ct_lookup(hook, &memory->tuple, sizeof(memory->tuple.ipv4), &options, sizeof(options));
	if (!entry)
		return 0;
	backend = &entry->tuplehash[IP_CT_DIR_REPLY].tuple.src;
	memory->backend.address[0] = backend->u3.all[0];
	memory->backend.address[1] = backend->u3.all[1];
	memory->backend.address[2] = backend->u3.all[2];
	memory->backend.address[3] = backend->u3.all[3];
	memory->backend.port = backend->u.all;
	led = options.dir == IP_CT_DIR_ORIGINAL && !(memory->backend.syn && is_reopened(entry));
	bpf_ct_release(entry);
	return led && !is_at_frontend(memory);
}

/* Whether the policy denies the pod the backend in the scratch. A pod cannot block itself; but it is not its own resolver. */
__noinline int denies_backend(hook_context *hook)
{
	const struct endpoint *endpoint = endpoint_of(interface_of(hook));
	struct scratch_space *memory = scratch_of_cpu();
	struct address_v6 address;
	struct backend *backend;

	if (!memory || !endpoint)
		return 1;
	backend = &memory->backend;
	address.high = backend->address[0] | (__u64)backend->address[1] << 32;
	address.low = backend->address[2] | (__u64)backend->address[3] << 32;
	if (backend->v6 ? has_v6(endpoint, &address) : has_v4(endpoint, backend->address[0]))
		return backend->resolver;
	backend->identity = backend->v6 ? find_identity_v6(address.high, address.low, backend->version)
					: find_identity_v4(backend->address[0], backend->version);
	backend->identity &= ~IDENTITY_FRONTEND;
	backend->place = place_of(backend->protocol, backend->port);
	if (judge_identity(&backend->number, &backend->identity, &backend->place, backend->version) != REASON_POLICY)
		return !is_node_port(memory, backend->v6, backend->protocol, backend->version);
	if (!backend->resolver)
		return 0;
	backend->place = place_of(IPPROTO_UDP, bpf_htons(DNS_PORT));
	return judge_identity(&backend->number, &backend->identity, &backend->place, backend->version) != REASON_POLICY;
}

/*
 * Whether a packet's flow, which the pod has opened, is to an address that Services have or have had, and the kernel takes it to a backend that the policy with this
 * number denies; at the port of DNS, too, if it is one that judges resolvers.
 */
static __always_inline bool leads_to_denied(hook_context *hook, const struct context *context,
					    const struct packet *packet, __u32 number, bool resolver)
{
	struct scratch_space *memory = scratch_of_cpu();

	if (!memory || (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP) ||
	    !may_be_frontend(remote_of(context, packet)))
		return false;
	tuple_of(&memory->tuple, packet, context->direction == DIRECTION_EGRESS);
	memory->backend.number = number;
	memory->backend.version = context->version;
	memory->backend.protocol = packet->protocol;
	memory->backend.v6 = is_v6(packet);
	memory->backend.syn = is_syn(packet);
	memory->backend.resolver = resolver;
	return find_backend(hook) && denies_backend(hook);
}
#else
static __always_inline bool leads_to_denied(__attribute__((unused)) hook_context *hook,
					    __attribute__((unused)) const struct context *context,
					    __attribute__((unused)) const struct packet *packet,
					    __attribute__((unused)) __u32 number, __attribute__((unused)) bool resolver)
{
	return false;
}
#endif

#ifdef CONNTRACK_EVIDENCE
/* The same of the packet of this run, by the policy of the pod: a step of its own, which reads the packet again, because of the stack. */
__noinline int leads_frame_astray(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint || !parse_again(hook))
		return 1;
	return leads_to_denied(hook, &context, &memory->packet, context.policy[DIRECTION_EGRESS] & ~POLICY_MARKS,
			       false);
}

/* The same of a plain packet, of a flow that this side has opened. */
static __always_inline bool leads_plain_astray(hook_context *hook, const struct context *context,
					       const struct packet *packet, enum direction opener)
{
	return opener == DIRECTION_EGRESS && isolated(context, DIRECTION_EGRESS) &&
	       may_be_frontend(remote_of(context, packet)) && leads_frame_astray(hook, view_of(context));
}
#else
static __always_inline bool leads_plain_astray(__attribute__((unused)) hook_context *hook,
					       __attribute__((unused)) const struct context *context,
					       __attribute__((unused)) const struct packet *packet,
					       __attribute__((unused)) enum direction opener)
{
	return false;
}
#endif

/* The same of a flow that this side has opened, by the policy of the pod. */
static __always_inline bool leads_astray(hook_context *hook, const struct context *context, const struct packet *packet,
					 enum direction opener)
{
	return opener == DIRECTION_EGRESS && isolated(context, DIRECTION_EGRESS) &&
	       leads_to_denied(hook, context, packet, context->policy[DIRECTION_EGRESS] & ~POLICY_MARKS, false);
}

/* The same as judge() in policy.h, for a flow of which leads_astray() is known. */
static __always_inline enum reason judge_led(const struct context *context, const struct packet *packet,
					     enum direction opener, bool astray)
{
	enum reason reason = judge(context, packet, opener);

	if (!astray || opener != DIRECTION_EGRESS || reason != REASON_POLICY)
		return reason;
	return audited(context, DIRECTION_EGRESS) ? REASON_AUDIT : REASON_DENIED;
}

#endif
