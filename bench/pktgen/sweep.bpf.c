// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Makes of the one frame of a live-frame test run the packets of a sweep, and
// passes them on to the link's receive path.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Written by user space before each run: first values, and how many there are.
struct {
  __u32 address;
  __u32 addresses;
  __u32 port;
  __u32 ports;
  __u32 source;
  __u32 sources;
} sweep;

struct frame {
  struct ethhdr ethernet;
  struct iphdr ip;
  struct udphdr udp;
} __attribute__((packed));

static __always_inline __u32 drawn(__u32 first, __u32 count) {
  return count < 2 ? first : first + bpf_get_prandom_u32() % count;
}

// As in RFC 1071, over the header alone; UDP needs none over IPv4. The compiler
// has it that the header is unaligned, so it is copied.
static __always_inline __u16 checksum(struct iphdr ip) {
  __u16 words[sizeof(ip) / sizeof(__u16)];
  __u32 sum = 0;

  __builtin_memcpy(words, &ip, sizeof(ip));
#pragma clang loop unroll(full)
  for (int at = 0; at < (int)(sizeof(words) / sizeof(*words)); at++)
    sum += words[at];
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

SEC("xdp") int sweep_frame(struct xdp_md *context) {
  struct frame *frame = (void *)(long)context->data;

  if ((void *)(frame + 1) > (void *)(long)context->data_end)
    return XDP_ABORTED;
  frame->ip.daddr = bpf_htonl(drawn(sweep.address, sweep.addresses));
  frame->ip.check = 0;
  frame->ip.check = checksum(frame->ip);
  frame->udp.dest = bpf_htons(drawn(sweep.port, sweep.ports));
  frame->udp.source = bpf_htons(drawn(sweep.source, sweep.sources));
  frame->udp.check = 0;
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
