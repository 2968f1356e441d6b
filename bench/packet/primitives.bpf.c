// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// One step each of what the programs do, on the programs' own maps: what the
// kernel and the machine take for it, whoever asks.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "flow_table.h"
#include "layout.h"
#include "maps.h"

struct frame {
  struct ethhdr ethernet;
  struct iphdr ip;
  __be16 source_port;
  __be16 destination_port;
} __attribute__((packed));

static __always_inline const struct frame *frame_of(struct __sk_buff *skb) {
  const struct frame *frame = (void *)(long)skb->data;

  return (void *)(frame + 1) <= (void *)(long)skb->data_end ? frame : NULL;
}

// As the programs have it of a packet to the pod, whose incarnation is the
// mark; and flow time.
static __always_inline __u32 key_of(const struct __sk_buff *skb,
                                    const struct frame *frame,
                                    struct flow_target *target) {
  __u32 zero = 0;
  const struct node *here = bpf_map_lookup_elem(&node, &zero);
  __u64 first = (__u32)(skb->mark << 8 | frame->ip.protocol);

  first |= (__u64)frame->destination_port << 32;
  first |= (__u64)frame->source_port << 48;
  key_of_v4(target, first, frame->ip.daddr, frame->ip.saddr);
  return here ? flow_time(here, bpf_jiffies64()) : 0;
}

SEC("tc") int find_one_flow(struct __sk_buff *skb) {
  const struct frame *frame = frame_of(skb);
  struct flow_target target = {};
  struct flow flow;
  __u32 now;

  if (!frame)
    return TC_ACT_SHOT;
  now = key_of(skb, frame, &target);
  return find_flow(&flow, &target, COUNTED_IPV4, now) ? TC_ACT_UNSPEC
                                                      : TC_ACT_SHOT;
}

SEC("tc") int make_flow(struct __sk_buff *skb) {
  struct flow_scratch *memory = flow_scratch_of_cpu();
  const struct frame *frame = frame_of(skb);
  __u32 now;

  if (!frame || !memory)
    return TC_ACT_SHOT;
  now = key_of(skb, frame, &memory->target);
  return insert(COUNTED_IPV4, flow_data(now + 60, 0, 0, DIRECTION_INGRESS), now,
                0) == FLOW_DONE
             ? TC_ACT_UNSPEC
             : TC_ACT_SHOT;
}

// Whether the address is there or not.
SEC("tc") int find_address(struct __sk_buff *skb) {
  const struct frame *frame = frame_of(skb);
  struct address_v4_key key;

  if (!frame)
    return TC_ACT_SHOT;
  key.address = frame->ip.saddr;
  asm volatile("" ::"r"(bpf_map_lookup_elem(&addresses_v4, &key)));
  return TC_ACT_UNSPEC;
}

SEC("tc") int match_cidr(struct __sk_buff *skb) {
  const struct frame *frame = frame_of(skb);
  struct cidr_v4_key key = {.length = 32};

  if (!frame)
    return TC_ACT_SHOT;
  key.address = frame->ip.saddr;
  // Whether there is a prefix or not takes the same way through the trie.
  asm volatile("" ::"r"(bpf_map_lookup_elem(&cidrs_v4, &key)));
  return TC_ACT_UNSPEC;
}

SEC("tc") int clock_jiffies(__attribute__((unused)) struct __sk_buff *skb) {
  return bpf_jiffies64() ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc") int clock_coarse(__attribute__((unused)) struct __sk_buff *skb) {
  return bpf_ktime_get_coarse_ns() ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc") int clock_monotonic(__attribute__((unused)) struct __sk_buff *skb) {
  return bpf_ktime_get_ns() ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
