// SPDX-License-Identifier: Apache-2.0
// A map of maps that does not say what its inner maps look like.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, 4);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(__u32));
} outer SEC(".maps");

char LICENSE[] SEC("license") = "Apache-2.0";
