/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP connections into a pod that need no entry in the flow table: the pod is isolated for ingress only, so that policy judges each segment
 * to it, and its answers leave freely. Should the pod become isolated for egress too, who opened the connection is found by evidence.h. So
 * each packet without an entry must show that this evidence exists; a packet that does not is treated as ever, and gets an entry. Nothing
 * passes here that the policy in force does not allow: a wrong answer costs a connection when a policy changes, and opens nothing.
 * docs/decisions/0034.
 */
#ifndef WEIR_STATELESS_H
#define WEIR_STATELESS_H

#include "conntrack.h"
#include "counters.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "packet.h"
#include "percpu_cache.h"
#include "policy.h"
#ifdef CONNTRACK_EVIDENCE
#include "kernel_conntrack.h"

/* test/packet/stateless.bpf.c has others: a test run's packets have met no conntrack. */
#ifndef how_assigned
#define how_assigned assigned_by_conntrack
#endif
#ifndef has_pod_socket
#define has_pod_socket(hook, endpoint, tuple, v6) has_socket(hook, endpoint, tuple, v6, true)
#endif

/* Whether only one direction of the pod's TCP connections is judged, so that its own policy is enough for what comes to it. */
static __always_inline bool is_one_sided(const struct context *context, const struct packet *packet)
{
	return context->direction == DIRECTION_INGRESS && packet->protocol == IPPROTO_TCP && !exempt(context) &&
	       context->endpoint->netns && isolated(context, DIRECTION_INGRESS) && !isolated(context, DIRECTION_EGRESS);
}

/* A word of pod_sockets, lowest bit first: whether the socket was found; the lowest bits of the tick in which; whether it is IPv6's; the port; the pod's incarnation. */
#define SOCKET_TICK_BITS 22
#define SOCKET_KEY_AT (1 + SOCKET_TICK_BITS)
#define SOCKET_TICK_MASK ((1ULL << SOCKET_TICK_BITS) - 1)

/* The word without what changes. */
static __always_inline __u64 socket_key(const struct endpoint *endpoint, __be16 port, bool v6)
{
	return ((__u64)endpoint->incarnation << 17 | (__u32)port << 1 | v6) << SOCKET_KEY_AT;
}

static __always_inline volatile __u64 *pod_socket(__u64 key)
{
	__u32 place = place_among(key >> SOCKET_KEY_AT, SOCKET_CACHE_BITS);
	struct bits *word = bpf_map_lookup_elem(&pod_sockets, &place);

	return word ? &word->word : 0;
}

/* Looks up the socket of the tuple in the scratch, and records the answer for other packets to its port. A global function, for the stack. */
__noinline int look_up_socket(hook_context *hook, __u32 v6)
{
	const struct endpoint *endpoint = endpoint_of(interface_of(hook));
	struct scratch_space *memory = scratch_of_cpu();
	volatile __u64 *word;
	bool found;
	__u64 key;

	if (!memory || !endpoint)
		return 0;
	key = socket_key(endpoint, v6 ? memory->tuple.ipv6.dport : memory->tuple.ipv4.dport, v6);
	word = pod_socket(key);
	found = has_pod_socket(hook, endpoint, &memory->tuple, v6);
	if (word)
		*word = key | (now() & SOCKET_TICK_MASK) << 1 | found;
	return found;
}

static __always_inline bool find_socket(hook_context *hook, const struct packet *packet)
{
	struct scratch_space *memory = scratch_of_cpu();

	if (!memory)
		return false;
	tuple_of(&memory->tuple, packet, true);
	return look_up_socket(hook, is_v6(packet));
}

enum socket_seen { SOCKET_UNKNOWN, SOCKET_ABSENT, SOCKET_FOUND };

/*
 * Whether the pod's connections at a port of this family are sockets of its network namespace, under the addresses that the node sees: not those of a virtual
 * machine or of a proxy that rules in the pod redirect to. By one of these connections in the last second: one look-up is as dear as a judgement.
 * On any CPU: a node's own pods have their SYNs on the client's CPU, and the segments that follow on the server's.
 */
static __always_inline enum socket_seen socket_seen(const struct context *context, const struct packet *packet)
{
	__u64 key = socket_key(context->endpoint, packet->destination_port, is_v6(packet)), word, age;
	const volatile __u64 *place = pod_socket(key);

	if (!place)
		return SOCKET_UNKNOWN;
	word = *place;
	if (word >> SOCKET_KEY_AT != key >> SOCKET_KEY_AT)
		return SOCKET_UNKNOWN;
	age = (now() - (word >> 1)) & SOCKET_TICK_MASK;
	if (word & 1)
		return age < context->node->ticks_per_second ? SOCKET_FOUND : SOCKET_UNKNOWN;
	/* One connection without a socket says little of others. */
	return age == 0 ? SOCKET_ABSENT : SOCKET_UNKNOWN;
}

/*
 * Whether a SYN that a rule allows needs no entry. Where the direction is free but for single peers, no later segment would make one if the
 * evidence goes. It does not look for the entry of an earlier connection between these ports: the pod's answer does (ends_earlier()).
 */
static __always_inline bool opens_without_entry(hook_context *hook, const struct context *context,
						const struct packet *packet)
{
	return is_one_sided(context, packet) && how_assigned(hook) == ASSIGNED_OPENING &&
	       socket_seen(context, packet) == SOCKET_FOUND && !free_by_default(context);
}

static __always_inline bool has_known_socket(hook_context *hook, const struct context *context,
					     const struct packet *packet)
{
	enum socket_seen seen = socket_seen(context, packet);

	return seen == SOCKET_FOUND || (seen == SOCKET_UNKNOWN && find_socket(hook, packet));
}

/*
 * Whether a segment passes without an entry. What policy denies may be part of a flow that the pod has opened. A connection that has ended
 * needs no entry for its last segments, whatever the evidence.
 */
static __always_inline bool passes_without_entry(hook_context *hook, const struct context *context,
						 const struct packet *packet)
{
	enum assigned how;

	if (!is_one_sided(context, packet))
		return false;
	how = how_assigned(hook);
	if (how != ASSIGNED_ENDED && (how != ASSIGNED_OPEN || !has_known_socket(hook, context, packet)))
		return false;
	return !free_by_default(context) && judge(context, packet, DIRECTION_INGRESS) == REASON_POLICY;
}

/* Whether an ICMP error is about a connection that has no entry, by what it quotes: a packet of the pod. That is judged as the connection's opener was. */
static __always_inline bool is_error_without_entry(hook_context *hook, const struct context *context,
						   const struct packet *quoted)
{
	struct context turned = *context;

	if (!is_one_sided(context, quoted) || how_assigned(hook) != ASSIGNED_ERROR)
		return false;
	turned.direction = DIRECTION_EGRESS;
	return judge(&turned, quoted, DIRECTION_INGRESS) == REASON_POLICY;
}
#else
static __always_inline bool opens_without_entry(__attribute__((unused)) hook_context *hook,
						__attribute__((unused)) const struct context *context,
						__attribute__((unused)) const struct packet *packet)
{
	return false;
}

static __always_inline bool passes_without_entry(__attribute__((unused)) hook_context *hook,
						 __attribute__((unused)) const struct context *context,
						 __attribute__((unused)) const struct packet *packet)
{
	return false;
}

static __always_inline bool is_error_without_entry(__attribute__((unused)) hook_context *hook,
						   __attribute__((unused)) const struct context *context,
						   __attribute__((unused)) const struct packet *quoted)
{
	return false;
}
#endif

#endif
