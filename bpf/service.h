/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services, as the pod's end sees them: a packet to a frontend goes to a backend, but is rewritten only behind this hook. So
 * the frontend has an identity of its own, whose row says what the policy says of all its backends: see docs/services.md.
 */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "layout.h"
#include "maps.h"
#include "report.h"

static __always_inline __u32 service_identity(const struct identity *found, __u32 version, __u32 otherwise)
{
	__u32 number = found ? found->number[version & 1] : IDENTITY_ABSENT;

	return number == IDENTITY_ABSENT ? otherwise : number;
}

/* Global functions, for the room that their keys take on the stack. `otherwise` where no Service has this port there. */
__noinline __u32 find_service_v4(__be32 address, __u32 place, __u32 version, __u32 otherwise)
{
	struct service_v4_key key = { .address = address, .place = place };

	return service_identity(bpf_map_lookup_elem(&services_v4, &key), version, otherwise);
}

__noinline __u32 find_service_v6(__be64 high, __be64 low, __u32 place, __u32 version, __u32 otherwise)
{
	struct service_v6_key key = { .address = { .high = high, .low = low }, .place = place };

	return service_identity(bpf_map_lookup_elem(&services_v6, &key), version, otherwise);
}

/* What an address that frontends have is to a flow of a pod's own, or to one that comes from there, which no Service does. */
static __always_inline __u32 identity_behind(const struct context *context, bool v6, const struct address_v6 *address,
					     enum direction opener, __u32 place, __u32 identity)
{
	identity &= ~IDENTITY_FRONTEND;
	if (opener != DIRECTION_EGRESS)
		return identity;
	return v6 ? find_service_v6(address->high, address->low, place, context->version, identity)
		  : find_service_v4((__be32)address->low, place, context->version, identity);
}

#endif
