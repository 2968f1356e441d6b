// SPDX-License-Identifier: Apache-2.0
// Two programs: one that the verifier refuses, and one that it takes its time
// over.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} values SEC(".maps");

SEC("tc")
int unchecked(struct __sk_buff *skb) {
  __u32 key = skb->mark;
  __u64 *value = bpf_map_lookup_elem(&values, &key);

  return (int)*value; // may be null
}

// The verifier walks every turn of the loop, and each state differs from the
// last. The loop has no branch but its own and no bit operation: a program with
// thousands of open branches on those can crash the verifier of some kernels.
SEC("tc")
int slow(struct __sk_buff *skb) {
  __u64 sum = 0;

  for (__u32 i = 0; i < 60000; i++)
    sum += bpf_get_prandom_u32();
  return sum > 1000 ? TC_ACT_OK : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Apache-2.0";
