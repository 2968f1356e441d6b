// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Stands before a program under test: a test run repeats one packet, so each
// driver makes of it the packet of the next peer in a list, and hands over by a
// tail call. With `nothing` behind it, it is the floor of what it drives.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PEERS (1 << 18)

// A peer's address, as the packet has it, and the port that it, or the pod,
// speaks from; in an answer, the port that is spoken to.
struct peer_v4 {
  __be32 address;
  __u32 port;
};

struct peer_v6 {
  __be32 address[4];
  __u32 port;
  __u32 reserved;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, PEERS);
  __type(key, __u32);
  __type(value, struct peer_v4);
} peers_v4 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, PEERS);
  __type(key, __u32);
  __type(value, struct peer_v6);
} peers_v6 SEC(".maps");

// What stands behind the drivers of each hook, at 0.
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} target_tc SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} target_xdp SEC(".maps");

// In .bss, so that it takes no look-up; test runs come one after another.
struct {
  __u32 next;   // packets so far
  __u32 bits;   // the list has 1 << bits peers
  __u32 stride; // each time round, all ports are so much higher
  __u32 answer; // the port is the destination's
} course;

static __always_inline __be16 port_of(__u32 port) {
  return bpf_htons(port + (course.next >> (course.bits & 31)) * course.stride);
}

static __always_inline __u32 next_place(void) {
  return course.next & ((1u << (course.bits & 31)) - 1) & (PEERS - 1);
}

static __always_inline void drive_v4(void *data, void *end, __u32 offset) {
  struct iphdr *ip = data + sizeof(struct ethhdr);
  __be16 *port = (__be16 *)(ip + 1) + (course.answer & 1);
  __u32 place = next_place();
  const struct peer_v4 *peer = bpf_map_lookup_elem(&peers_v4, &place);

  if (!peer || (void *)(ip + 1) > end || (void *)(port + 1) > end)
    return;
  *(__be32 *)((void *)ip + offset) = peer->address;
  *port = port_of(peer->port);
  course.next++;
}

static __always_inline void drive_v6(void *data, void *end, __u32 offset) {
  struct ipv6hdr *ip = data + sizeof(struct ethhdr);
  __be16 *port = (__be16 *)(ip + 1) + (course.answer & 1);
  __u32 place = next_place();
  const struct peer_v6 *peer = bpf_map_lookup_elem(&peers_v6, &place);

  if (!peer || (void *)(ip + 1) > end || (void *)(port + 1) > end)
    return;
  __builtin_memcpy((void *)ip + offset, peer->address, sizeof(peer->address));
  *port = port_of(peer->port);
  course.next++;
}

#define DATA(context)                                                          \
  (void *)(long)(context)->data, (void *)(long)(context)->data_end
#define DRIVER(section, hook, type, name, family, header, field, otherwise)    \
  SEC(section) int name(struct type *context) {                                \
    drive_##family(DATA(context), __builtin_offsetof(struct header, field));   \
    bpf_tail_call(context, &target_##hook, 0);                                 \
    return otherwise;                                                          \
  }

// Packets from peers to a pod, and from a pod to peers.
DRIVER("tc", tc, __sk_buff, tc_from_v4, v4, iphdr, saddr, TC_ACT_STOLEN)
DRIVER("tc", tc, __sk_buff, tc_to_v4, v4, iphdr, daddr, TC_ACT_STOLEN)
DRIVER("tc", tc, __sk_buff, tc_from_v6, v6, ipv6hdr, saddr, TC_ACT_STOLEN)
DRIVER("tc", tc, __sk_buff, tc_to_v6, v6, ipv6hdr, daddr, TC_ACT_STOLEN)
DRIVER("xdp.frags", xdp, xdp_md, xdp_from_v4, v4, iphdr, saddr, XDP_ABORTED)
DRIVER("xdp.frags", xdp, xdp_md, xdp_to_v4, v4, iphdr, daddr, XDP_ABORTED)
DRIVER("xdp.frags", xdp, xdp_md, xdp_from_v6, v6, ipv6hdr, saddr, XDP_ABORTED)
DRIVER("xdp.frags", xdp, xdp_md, xdp_to_v6, v6, ipv6hdr, daddr, XDP_ABORTED)

// The floors: what a hook costs with nothing on it.
SEC("tc") int tc_nothing(__attribute__((unused)) struct __sk_buff *skb) {
  return TC_ACT_UNSPEC;
}

SEC("xdp.frags")
int xdp_nothing(__attribute__((unused)) struct xdp_md *context) {
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
