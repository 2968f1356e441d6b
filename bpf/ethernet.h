/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fields of an Ethernet header in one load each: the kernel's struct is packed, for which the compiler loads byte by byte, eight loads and as
 * many shifts for a MAC address.
 */
#ifndef WEIR_ETHERNET_H
#define WEIR_ETHERNET_H

#include <linux/if_ether.h>
#include <linux/types.h>

static __always_inline __be16 ethernet_type(const void *ethernet)
{
	return *(const __be16 *)(ethernet + __builtin_offsetof(struct ethhdr, h_proto));
}

/* The source, and the type behind it. */
static __always_inline __be64 ethernet_source(const void *ethernet)
{
	return *(const __be64 *)(ethernet + __builtin_offsetof(struct ethhdr, h_source));
}

#endif
