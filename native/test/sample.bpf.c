// SPDX-License-Identifier: Apache-2.0
// A little of everything for the tests: maps of many kinds, variables in all
// data sections, tc and XDP programs.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum sample_kind : __u8 {
  SAMPLE_NONE = 0,
  SAMPLE_PACKET = 1,
  SAMPLE_MARK = 2,
};

struct sample_event {
  __u32 sequence;
  __u16 length;
  enum sample_kind kind;
  __u8 padding;
};

struct sample_key {
  __u32 prefix_length;
  __u8 address[4];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 128);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, 64);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct sample_key);
  __type(value, __u32);
} prefixes SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} per_cpu SEC(".maps");

struct inner_map {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, 8);
  __type(key, __u32);
  __array(values, struct inner_map);
} outer SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 16);
} events SEC(".maps");

// A ring buffer's type is in BTF only if something refers to it.
struct sample_event *unused_event __attribute__((unused));

const volatile __u32 verdict = TC_ACT_OK;
const volatile struct sample_key settings = {24, {10, 0, 0, 0}};
__u64 start_at = 40;
__u64 runs;
static volatile __u16 burst = 1;

SEC("tc")
int count(struct __sk_buff *skb) {
  __u32 key = skb->mark;
  __u64 one = 1;
  __u64 *value = bpf_map_lookup_elem(&counters, &key);

  runs++;
  if (value)
    __sync_fetch_and_add(value, 1);
  else
    bpf_map_update_elem(&counters, &key, &one, BPF_NOEXIST);
  key = 0;
  value = bpf_map_lookup_elem(&per_cpu, &key);
  if (value)
    *value += start_at;
  skb->mark += settings.prefix_length;
  return verdict;
}

SEC("tc")
int pass(struct __sk_buff *skb) {
  void *inner;
  __u32 key = 0;
  __u64 *value;

  inner = bpf_map_lookup_elem(&outer, &key);
  value = inner ? bpf_map_lookup_elem(inner, &key) : 0;
  return value ? (int)*value : TC_ACT_UNSPEC;
}

SEC("tc")
int drop(struct __sk_buff *skb) { return TC_ACT_SHOT; }

SEC("xdp")
int xdp_pass(struct xdp_md *context) { return XDP_PASS; }

SEC("xdp")
int xdp_drop(struct xdp_md *context) { return XDP_DROP; }

SEC("tc")
int emit(struct __sk_buff *skb) {
  struct sample_event *event;
  __u32 i;

  for (i = 0; i < burst && i < 512; i++) {
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event)
      return TC_ACT_SHOT;
    event->sequence = (__u32)runs++;
    event->length = (__u16)skb->len;
    event->kind = SAMPLE_PACKET;
    event->padding = 0;
    bpf_ringbuf_submit(event, 0);
  }
  return TC_ACT_OK;
}

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u32);
} programs SEC(".maps");

// Goes on as whatever program the array holds.
SEC("tc")
int hand_over(struct __sk_buff *skb) {
  bpf_tail_call(skb, &programs, 0);
  return TC_ACT_UNSPEC;
}

SEC("tc")
int lookup_prefix(struct __sk_buff *skb) {
  struct sample_key key = {32, {0}};
  __u32 *value;

  bpf_skb_load_bytes(skb, 0, key.address, sizeof(key.address));
  value = bpf_map_lookup_elem(&prefixes, &key);
  return value ? (int)*value : -1;
}

char LICENSE[] SEC("license") = "Apache-2.0";
