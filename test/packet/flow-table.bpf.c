// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Runs the flow table of bpf/flow_table.h on keys of its own, without packets:
// all CPUs at once on few buckets, and floods.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow_table.h"

#define NOW 1000
#define KEYS 64

// What a run is to do, and what it found. Set and read by the test.
struct order {
  __u32 incarnation;
  __u32 tenant;
  __u32 state;
  __u32 later; // units by which its flows expire after others
  __u64 next;  // the next flow's port
  __u64 found;
  __u64 absent;
  __u64 wrong; // another flow's data
  __u64 inserted;
  __u64 refused;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct order);
} orders SEC(".maps");

static __always_inline struct order *order_of_test(void) {
  __u32 zero = 0;

  return bpf_map_lookup_elem(&orders, &zero);
}

static __always_inline void key_into(struct flow_scratch *memory, int family,
                                     __u32 incarnation, __u32 number) {
  struct address_v6 local = {.high = 1, .low = 2};
  struct address_v6 remote = {.high = number >> 16, .low = 5};
  __u64 owner = (__u64)(number & 0xffff) << 32 | incarnation << 8 | 6;

  if (family == COUNTED_IPV6)
    key_of_v6(&memory->target, owner, &local, &remote);
  else
    key_of_v4(&memory->target, owner, 1, number >> 16);
}

// Each key has a stamp and an opener of its own, so that another's data shows.
static __always_inline __u64 data_of(__u32 number, __u32 expires) {
  return flow_data(expires, number * 1021 + 7, 0, number & 1);
}

static __always_inline bool is_data_of(__u64 data, __u32 number) {
  return flow_stamp(data) == ((number * 1021 + 7) & FLOW_STAMP_MASK) &&
         flow_opener(data) == (number & 1);
}

static __always_inline int look(int family, __u32 now) {
  return family == COUNTED_IPV6 ? search_v6(now) : search_v4(now);
}

static __always_inline int hammer(int family) {
  struct flow_scratch *memory = flow_scratch_of_cpu();
  struct order *order = order_of_test();
  __u32 random = bpf_get_prandom_u32(), number = random % KEYS;
  __u32 expires = NOW + 1 + (random >> 8) % 1000;
  __u64 data;

  if (!memory || !order)
    return 0;
  key_into(memory, family, 7, number);
  if (random >> 30 == 0) {
    memory->expected = 2;
    if (family == COUNTED_IPV6)
      fetch_buckets_v6();
    else
      fetch_buckets_v4();
    key_into(memory, family, 7, number);
    insert(family, data_of(number, expires), NOW, 0);
    key_into(memory, family, 7, number);
  }
  if (!look(family, NOW)) {
    __sync_fetch_and_add(&order->absent, 1);
    return 0;
  }
  __sync_fetch_and_add(&order->found, 1);
  data = memory->flow.seen;
  if (!is_data_of(data, number))
    __sync_fetch_and_add(&order->wrong, 1);
  // A refresh.
  if (random >> 30 == 1)
    change_flow(&memory->flow, family,
                flow_constants(data) << FLOW_OPENER_AT |
                    flow_data(expires, flow_stamp(data), flow_state(data), 0));
  return 0;
}

SEC("tc") int hammer_v4(__attribute__((unused)) struct __sk_buff *skb) {
  return hammer(COUNTED_IPV4);
}

SEC("tc") int hammer_v6(__attribute__((unused)) struct __sk_buff *skb) {
  return hammer(COUNTED_IPV6);
}

// Inserts the pod's next flow.
static __always_inline int put(int family) {
  struct flow_scratch *memory = flow_scratch_of_cpu();
  struct order *order = order_of_test();

  if (!memory || !order)
    return 0;
  key_into(memory, family, order->incarnation, order->next++);
  // Established flows are idle for days, others expire soon.
  if (insert(family,
             flow_data(NOW + order->later +
                           (order->state & FLOW_CONFIRMED ? 100000 : 120),
                       1, order->state, DIRECTION_INGRESS),
             NOW, order->tenant) == FLOW_DONE)
    order->inserted++;
  else
    order->refused++;
  return 0;
}

// Whether the table has the pod's next flow.
static __always_inline int get(int family) {
  struct flow_scratch *memory = flow_scratch_of_cpu();
  struct order *order = order_of_test();

  if (!memory || !order)
    return 0;
  key_into(memory, family, order->incarnation, order->next++);
  if (look(family, NOW))
    order->found++;
  else
    order->absent++;
  return 0;
}

SEC("tc") int put_v4(__attribute__((unused)) struct __sk_buff *skb) {
  return put(COUNTED_IPV4);
}

SEC("tc") int put_v6(__attribute__((unused)) struct __sk_buff *skb) {
  return put(COUNTED_IPV6);
}

SEC("tc") int get_v4(__attribute__((unused)) struct __sk_buff *skb) {
  return get(COUNTED_IPV4);
}

SEC("tc") int get_v6(__attribute__((unused)) struct __sk_buff *skb) {
  return get(COUNTED_IPV6);
}

// Puts the pod's next flow into two places, as two CPUs may, and inserts it.
static __always_inline int twice(int family) {
  const struct flow_secret *secret = secret_of_table();
  struct flow_scratch *memory = flow_scratch_of_cpu();
  __u32 words = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;
  struct order *order = order_of_test();
  __u64 data = flow_data(NOW + 120, 1, 0, DIRECTION_INGRESS), *bucket;

  if (!memory || !order || !secret)
    return 0;
  key_into(memory, family, order->incarnation, order->next);
  locate(secret, &memory->target, family);
  bucket = bucket_of(family, memory->target.first);
  if (!bucket)
    return 0;
  write_entry(secret, bucket, 1, memory->target.word, words, 0, data, false);
  write_entry(secret, bucket, 3, memory->target.word, words, 0, data, false);
  return put(family);
}

SEC("tc") int twice_v4(__attribute__((unused)) struct __sk_buff *skb) {
  return twice(COUNTED_IPV4);
}

SEC("tc") int twice_v6(__attribute__((unused)) struct __sk_buff *skb) {
  return twice(COUNTED_IPV6);
}

// Removes the pod's next flow.
static __always_inline int drop(int family) {
  struct flow_scratch *memory = flow_scratch_of_cpu();
  struct order *order = order_of_test();

  if (!memory || !order)
    return 0;
  key_into(memory, family, order->incarnation, order->next++);
  if (look(family, NOW))
    change_flow(&memory->flow, family, freed(memory->flow.seen));
  return 0;
}

SEC("tc") int drop_v4(__attribute__((unused)) struct __sk_buff *skb) {
  return drop(COUNTED_IPV4);
}

SEC("tc") int drop_v6(__attribute__((unused)) struct __sk_buff *skb) {
  return drop(COUNTED_IPV6);
}

static __always_inline __u64 random64(void) {
  return (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
}

// How the second of two keys differs from the first: as an attacker may
// choose it, who does not know the secret.
enum pattern {
  NEXT_PORT,
  NEXT_ADDRESS,
  HIGHEST_OF_PORTS,
  HIGHEST_OF_ADDRESS,
  SAME_WITHOUT_SECRET, // the sum of the products of their halves
};

static __always_inline void alter(struct flow_target *key, int family,
                                  __u64 pattern) {
  __u64 *remote = &key->word[family == COUNTED_IPV6 ? WORDS_V6 - 1 : 1];

  if (pattern == NEXT_PORT)
    key->word[0] += 1ULL << 32;
  if (pattern == NEXT_ADDRESS)
    *remote += 1ULL << 32;
  if (pattern == HIGHEST_OF_PORTS)
    key->word[0] ^= 1ULL << 63;
  if (pattern == HIGHEST_OF_ADDRESS)
    *remote ^= 1ULL << 63;
  if (pattern == SAME_WITHOUT_SECRET && family == COUNTED_IPV6)
    *remote = *remote << 32 | *remote >> 32;
  if (pattern == SAME_WITHOUT_SECRET && family == COUNTED_IPV4) {
    *remote -= key->word[0] << 32;
    key->word[0] += 1ULL << 32;
  }
}

// Two keys under one random secret: `found` counts equal first buckets,
// `absent` equal second ones, `wrong` words that a find takes for the same.
static __always_inline int collide(int family) {
  struct flow_secret secret = {.buckets = {4096, 4096}};
  struct order *order = order_of_test();
  struct flow_target a = {}, b;
  __u32 words = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;

  if (!order)
    return 0;
  for (__u32 i = 0; i < SECRET_WORDS; i++) {
    secret.hash[i] = random64();
    a.word[i] = random64();
  }
  secret.finish = random64() | 1;
  secret.chain = random64() | 1;
  secret.entry = random64() | 1;
  a.word[0] = (a.word[0] >> 32 << 32) | 7 << 8 | 6;
  if (family == COUNTED_IPV4)
    a.word[1] = (a.word[1] >> 32 << 32) | 1;
  b = a;
  alter(&b, family, order->next);
  locate(&secret, &a, family);
  locate(&secret, &b, family);
  order->found += a.first == b.first;
  order->absent += a.second == b.second;
  order->wrong += pair_of(a.word, words) == pair_of(b.word, words);
  return 0;
}

SEC("tc") int collide_v4(__attribute__((unused)) struct __sk_buff *skb) {
  return collide(COUNTED_IPV4);
}

SEC("tc") int collide_v6(__attribute__((unused)) struct __sk_buff *skb) {
  return collide(COUNTED_IPV6);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
