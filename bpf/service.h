/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services, as seen at the pod: a packet to a frontend goes to a backend, but is rewritten only after this hook. So the
 * frontend has an identity of its own, whose row combines what the policy allows to all its backends: see docs/services.md.
 */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "layout.h"
#include "maps.h"
#include "counters.h"

/* Global functions, because of the stack space of their keys. IDENTITY_ABSENT if no Service has the port there. */
__noinline __u32 find_service_v4(__be32 address, __u32 place, __u32 version)
{
	struct service_v4_key key = { .address = address, .place = place };
	struct identity *found = bpf_map_lookup_elem(&services_v4, &key);

	return found ? found->number[version & 1] : IDENTITY_ABSENT;
}

__noinline __u32 find_service_v6(__be64 high, __be64 low, __u32 place, __u32 version)
{
	struct service_v6_key key = { .address = { .high = high, .low = low }, .place = place };
	struct identity *found = bpf_map_lookup_elem(&services_v6, &key);

	return found ? found->number[version & 1] : IDENTITY_ABSENT;
}

static __always_inline __u32 find_service(const struct context *context, const struct address_v6 *address, bool v6,
					  __u32 place)
{
	return v6 ? find_service_v6(address->high, address->low, place, context->version)
		  : find_service_v4((__be32)address->low, place, context->version);
}

#endif
