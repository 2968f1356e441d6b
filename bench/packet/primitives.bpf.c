// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// One step each of what the programs do, on the programs' own maps: what the
// kernel and the machine take for it, whoever asks.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

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
// mark.
static __always_inline struct flow_v4_key key_of(const struct __sk_buff *skb,
                                                 const struct frame *frame) {
  return (struct flow_v4_key){
      .local = frame->ip.daddr,
      .remote = frame->ip.saddr,
      .local_port = frame->destination_port,
      .remote_port = frame->source_port,
      .owner = skb->mark << 8 | frame->ip.protocol,
  };
}

SEC("tc") int find_flow(struct __sk_buff *skb) {
  const struct frame *frame = frame_of(skb);
  struct flow_v4_key key;

  if (!frame)
    return TC_ACT_SHOT;
  key = key_of(skb, frame);
  return bpf_map_lookup_elem(&conntrack_v4, &key) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

SEC("tc") int make_flow(struct __sk_buff *skb) {
  const struct frame *frame = frame_of(skb);
  struct flow_v4_key key;
  struct flow flow = {};

  if (!frame)
    return TC_ACT_SHOT;
  key = key_of(skb, frame);
  return bpf_map_update_elem(&conntrack_v4, &key, &flow, BPF_ANY)
             ? TC_ACT_SHOT
             : TC_ACT_UNSPEC;
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

char LICENSE[] SEC("license") = "Dual BSD/GPL";
