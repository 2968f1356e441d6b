// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Stands before a program under test: a test run repeats one packet, so each
// driver makes of it the packet of the next peer in a list, and hands over by a
// tail call. With `nothing` behind it, it is the floor of what it drives. The
// cold drivers evict the CPU's caches before each packet, and measure what
// comes after that themselves, since the eviction takes longer than the packet.
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

// What stands behind the drivers of each hook, at 0, and `nothing` at 1.
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u32);
} target_tc SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u32);
} target_xdp SEC(".maps");

// In .bss, so that it takes no look-up; test runs come one after another.
struct {
  __u32 next;   // packets so far
  __u32 bits;   // the list has 1 << bits peers
  __u32 stride; // each time round, all ports are so much higher
  __u32 answer; // the port is the destination's
  // Of cold drivers:
  __u64 branches; // whether the CPU is made to forget branches, too
  __u64 turn;     // packets so far
  __u64 since;    // the current packet's program runs, in nanoseconds
  __u64 chance;   // what branches go by
} course;

// What packets have taken since the driver was set, in nanoseconds: the target
// at even places, `nothing` at odd ones.
#define TIMES (1 << 13)

struct times {
  __u32 ns[TIMES];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct times);
} times SEC(".maps");

// Twice as much as most CPUs' second-level caches. Read in steps of a cache
// line, it replaces what they hold, also of the kernel's code.
#define JUNK_PAGES 512
#define JUNK_PAGE 4096
#define CACHE_LINE 64

struct junk {
  __u64 words[JUNK_PAGE / sizeof(__u64)];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, JUNK_PAGES);
  __type(key, __u32);
  __type(value, struct junk);
} junk SEC(".maps");

static long read_page(__u32 index, __attribute__((unused)) void *context) {
  const volatile struct junk *page = bpf_map_lookup_elem(&junk, &index);
  __u64 sum = 0;

  if (!page)
    return 1;
#pragma clang loop unroll(full)
  for (int at = 0; at < JUNK_PAGE; at += CACHE_LINE)
    sum += page->words[at / sizeof(__u64)];
  asm volatile("" ::"r"(sum));
  return 0;
}

// 64 KiB of machine code, twice as much as first-level caches hold: caches of
// instructions need not be emptied by what the second level loses.
static __noinline int run_long(void) {
  int sum = 0;

  asm volatile(".rept 16384\n%0 += 1\n.endr" : "+r"(sum));
  return sum;
}

// 8,192 branches that go one way or the other by chance: more than branch
// predictors remember. Each function is global, so that it is verified by
// itself: the verifier limits the branches that are left to be looked at.
#define BRANCHES(name)                                                         \
  __noinline __u64 name(__u64 chance) {                                        \
    asm volatile(".rept 1024\n"                                                \
                 "%0 *= 1103515245\n"                                          \
                 "%0 += 12345\n"                                               \
                 "if %0 s> 0 goto +1\n"                                        \
                 "%0 += 7\n"                                                   \
                 ".endr"                                                       \
                 : "+r"(chance));                                              \
    return chance;                                                             \
  }

BRANCHES(branches_0)
BRANCHES(branches_1)
BRANCHES(branches_2)
BRANCHES(branches_3)
BRANCHES(branches_4)
BRANCHES(branches_5)
BRANCHES(branches_6)
BRANCHES(branches_7)

static __always_inline __u64 run_branches(__u64 chance) {
  chance = branches_1(branches_0(chance));
  chance = branches_3(branches_2(chance));
  chance = branches_5(branches_4(chance));
  return branches_7(branches_6(chance));
}

static __always_inline void stop_clock(void) {
  __u64 ns = bpf_ktime_get_ns() - course.since;
  __u32 only = 0;
  struct times *all = bpf_map_lookup_elem(&times, &only);

  if (all && course.turn)
    all->ns[(course.turn - 1) & (TIMES - 1)] = ns;
  course.turn++;
}

static __always_inline void evict(void) {
  if (course.branches)
    course.chance = run_branches(course.chance);
  run_long();
  bpf_loop(JUNK_PAGES, read_page, NULL, 0);
}

static __always_inline void start_clock(void) {
  course.since = bpf_ktime_get_ns();
}

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

// A packet's program has ended when the driver runs again, for the next one.
#define COLD(section, hook, type, name, drive, otherwise)                      \
  SEC(section) int name(struct type *context) {                                \
    stop_clock();                                                              \
    drive;                                                                     \
    evict();                                                                   \
    start_clock();                                                             \
    if (course.turn & 1)                                                       \
      bpf_tail_call(context, &target_##hook, 0);                               \
    else                                                                       \
      bpf_tail_call(context, &target_##hook, 1);                               \
    return otherwise;                                                          \
  }
#define FROM(family, header)                                                   \
  drive_##family(DATA(context), __builtin_offsetof(struct header, saddr))

COLD("tc", tc, __sk_buff, tc_cold, , TC_ACT_STOLEN)
COLD("tc", tc, __sk_buff, tc_cold_from_v4, FROM(v4, iphdr), TC_ACT_STOLEN)
COLD("tc", tc, __sk_buff, tc_cold_from_v6, FROM(v6, ipv6hdr), TC_ACT_STOLEN)
COLD("xdp.frags", xdp, xdp_md, xdp_cold, , XDP_ABORTED)

// The floors: what a hook costs with nothing on it.
SEC("tc") int tc_nothing(__attribute__((unused)) struct __sk_buff *skb) {
  return TC_ACT_UNSPEC;
}

SEC("xdp.frags")
int xdp_nothing(__attribute__((unused)) struct xdp_md *context) {
  return XDP_PASS;
}

// What a flood is compared with that another program drops.
SEC("tc") int tc_drop(__attribute__((unused)) struct __sk_buff *skb) {
  return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
