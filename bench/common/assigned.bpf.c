// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tc programs as they are, but for what only packets of a real network
 * have: how the kernel's conntrack has assigned the packet (enum assigned) and
 * whether the pod has its socket. Both are in the priority of a test run's
 * packet.
 */
#define how_assigned assigned_by_priority
#define has_pod_socket socket_by_priority

#include <linux/bpf.h>

#define PRIORITY_ASSIGNED 7
#define PRIORITY_WITHOUT_SOCKET 8

static __attribute__((always_inline)) inline unsigned int
assigned_by_priority(const struct __sk_buff *skb) {
  return skb->priority & PRIORITY_ASSIGNED;
}

#define socket_by_priority(skb, endpoint, tuple, v6)                           \
  (!((skb)->priority & PRIORITY_WITHOUT_SOCKET))

#include "filter.bpf.c"
