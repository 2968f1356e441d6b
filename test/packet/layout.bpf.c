// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Reads each struct of bpf/layout.h out of a packet, field by field as the
// compiler sees it, into a map of numbers, which the generated
// codecs are compared with.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

#define NUMBERS (1 + NAME_BYTES) // of `domain_name_key`, the largest struct
_Static_assert(NUMBERS >= FAMILIES * DIRECTIONS * REASONS * 2, "of `counters`");
#define STRUCT_OFFSET 16 // in the packet: after the Ethernet header, aligned

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, NUMBERS);
  __type(key, __u32);
  __type(value, __u64);
} numbers SEC(".maps");

static __always_inline void put(__u32 place, __u64 number) {
  bpf_map_update_elem(&numbers, &place, &number, BPF_ANY);
}

// One program for each struct; it returns how many numbers it put, 0 for a
// packet that is too short.
#define READER(name, ...)                                                      \
  SEC("tc") int read_##name(struct __sk_buff *skb) {                           \
    const struct name *it = (void *)(long)skb->data + STRUCT_OFFSET;           \
    __u32 n = 0;                                                               \
    if ((void *)(it + 1) > (void *)(long)skb->data_end)                        \
      return 0;                                                                \
    __VA_ARGS__                                                                \
    return n;                                                                  \
  }

#define HOST(field) put(n++, it->field);
#define BE16(field) put(n++, bpf_ntohs(it->field));
#define BE32(field) put(n++, bpf_ntohl(it->field));
#define BE64(field) put(n++, bpf_be64_to_cpu(it->field));
#define EACH(i, count) for (__u32 i = 0; i < (count); i++)

// clang-format off
READER(node, HOST(generation) HOST(ticks_per_second) EACH(i, TIMEOUTS) HOST(timeouts[i])
       HOST(neighbour_rate) HOST(last_incarnation) HOST(unit_shift)
       EACH(i, VERSIONS) HOST(tunnel_filter[i])
       EACH(i, VERSIONS) EACH(j, TUNNEL_PORTS) HOST(tunnel_ports[i][j]))
READER(endpoint, HOST(ifindex) HOST(id) HOST(tenant)
       HOST(policy[0][0]) HOST(policy[0][1]) HOST(policy[1][0]) HOST(policy[1][1])
       HOST(addresses_v4_used) HOST(addresses_v6_used) HOST(more_sources) HOST(hardware_used)
       HOST(bridge) HOST(incarnation) HOST(netns) BE64(hardware_mask)
       EACH(i, ENDPOINT_ADDRESSES) BE32(addresses_v4[i])
       EACH(i, ENDPOINT_ADDRESSES) { BE64(addresses_v6[i].high) BE64(addresses_v6[i].low) }
       EACH(i, ENDPOINT_HARDWARE) BE64(hardware[i]))
READER(source_v4_key, HOST(length) HOST(ifindex) BE32(address))
READER(source_v6_key, HOST(length) HOST(ifindex) EACH(i, 4) BE32(address[i]))
READER(source, HOST(allowed[0]) HOST(allowed[1]))
READER(address_v4_key, BE32(address))
READER(address_v6_key, BE64(address.high) BE64(address.low))
READER(cidr_v4_key, HOST(length) BE32(address))
READER(cidr_v6_key, HOST(length) EACH(i, 4) BE32(address[i]))
READER(event, HOST(time) BE64(source.high) BE64(source.low) BE64(destination.high) BE64(destination.low) HOST(ifindex)
  HOST(endpoint) HOST(generation) HOST(identity) HOST(bytes) BE16(source_port) BE16(destination_port) HOST(direction)
  HOST(reason) HOST(protocol) HOST(family) HOST(opener) HOST(icmp_type) HOST(icmp_code) HOST(opens))
READER(rate, HOST(ends) HOST(used))
READER(event_bucket, HOST(ends) HOST(used) HOST(flows) HOST(written) HOST(lost))
READER(identity, HOST(number[0]) HOST(number[1]))
READER(port_class, HOST(number[0]) HOST(number[1]))
READER(row, EACH(i, ROW_WORDS) HOST(bits[i]))
READER(flow_v4_key, HOST(owner) BE16(local_port) BE16(remote_port) BE32(local) BE32(remote))
READER(flow_v6_key, HOST(owner) BE16(local_port) BE16(remote_port)
       BE64(local.high) BE64(local.low) BE64(remote.high) BE64(remote.low))
READER(flow_bucket_v4, HOST(second_until) HOST(tenants)
       EACH(i, BUCKET_ENTRIES) { HOST(entries[i].data) EACH(j, 2) HOST(entries[i].key[j]) })
READER(flow_bucket_v6, HOST(second_until) HOST(tenants)
       EACH(i, BUCKET_ENTRIES) { HOST(entries[i].data) EACH(j, 5) HOST(entries[i].key[j]) })
READER(flow_secret, EACH(i, SECRET_WORDS) HOST(hash[i]) HOST(finish) HOST(chain) HOST(entry)
       EACH(i, FAMILIES) HOST(buckets[i]))
READER(flow_statistics, HOST(inserted) HOST(evicted_own) HOST(evicted_others) HOST(refused) HOST(contended))
READER(flow_request, BE64(local.high) BE64(local.low) BE64(remote.high) BE64(remote.low)
       BE16(local_port) BE16(remote_port) HOST(owner) HOST(expires) HOST(generation) HOST(opener)
       HOST(state) HOST(family) HOST(operation) HOST(result) HOST(tenant))
READER(closed_filter, EACH(i, CLOSED_FILTER_WORDS) HOST(words[i]))
READER(frontend_filter, EACH(i, FRONTEND_FILTER_WORDS) HOST(words[i]))
READER(cidr_filter, EACH(i, CIDR_FILTER_WORDS) HOST(words[i]))
READER(fragment_key, BE64(source.high) BE64(source.low) BE64(destination.high) BE64(destination.low)
       BE32(id) HOST(interface) HOST(direction))
READER(fragment, HOST(expires) BE16(source_port) BE16(destination_port) HOST(protocol) HOST(icmp_type) HOST(echo))
READER(counters, EACH(f, FAMILIES) EACH(i, DIRECTIONS) EACH(j, REASONS) {
	HOST(count[f][i][j].packets) HOST(count[f][i][j].bytes)
})
READER(service_v4_key, BE32(address) HOST(place))
READER(service_v6_key, BE64(address.high) BE64(address.low) HOST(place))
READER(domain_name_key, HOST(length) EACH(i, NAME_BYTES) HOST(text[i]))
READER(domain_name, HOST(pattern))
READER(name_policy_key, HOST(pattern) HOST(policy))
READER(name_policy, EACH(i, VERSIONS) HOST(number[i]))
READER(named_address_key, BE64(address.high) BE64(address.low) HOST(incarnation) HOST(family))
READER(named_address, EACH(i, NAME_SLOTS) { HOST(slots[i].pattern) HOST(slots[i].expires) } HOST(entered))
READER(question_key, BE64(resolver.high) BE64(resolver.low) HOST(incarnation) BE16(local_port) BE16(id) BE16(type)
       HOST(family) HOST(tcp) HOST(name))
READER(question, HOST(name) HOST(expires) HOST(entered))
READER(name_ring_key, HOST(incarnation) HOST(place))
READER(name_ring_entry, EACH(i, 5) HOST(words[i]))
READER(name_counters, HOST(questions) HOST(answers) HOST(learned) HOST(unasked) HOST(malformed) HOST(refused)
       HOST(evicted) HOST(displaced) HOST(unread) EACH(i, NAME_RINGS) HOST(inserted[i]))
READER(uplink, HOST(version))
READER(uplink_counters, EACH(i, SCREENINGS) { HOST(count[i].packets) HOST(count[i].bytes) })
// clang-format on

char LICENSE[] SEC("license") = "Dual BSD/GPL";
