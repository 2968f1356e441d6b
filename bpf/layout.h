/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything that C and TypeScript share: the keys, values and constants of the maps. tools/layout.ts reads this from
 * the BTF of the built object. Every field is aligned and every gap is a named field, so that equal keys are equal bytes.
 * Network-order fields have __be types, so that the generator recognizes them.
 */
#ifndef WEIR_LAYOUT_H
#define WEIR_LAYOUT_H

#include <linux/types.h>

/* Seen from the pod: ingress is traffic to it. */
enum direction : __u8 { DIRECTION_INGRESS = 0, DIRECTION_EGRESS = 1 };

/*
 * Why a packet passed or was dropped; index into counters. Reasons below REASON_DROPS pass, the others drop. The comments
 * are what users read: tools/layout.ts puts them into src/gen/layout.ts, docs/metrics.md has them too.
 */
enum reason : __u8 {
	REASON_NOT_ISOLATED = 0,  /* no policy isolates the pod in this direction */
	REASON_ESTABLISHED = 1,   /* part of a flow that was allowed */
	REASON_POLICY = 2,        /* a new flow that a rule allows */
	REASON_NODE = 3,          /* sent by this node itself */
	REASON_RELATED = 4,       /* an ICMP error about a tracked flow */
	REASON_NEIGHBOUR = 5,     /* ARP, IPv6 neighbour discovery, MLD or IGMP */
	REASON_AUDIT = 6,         /* policy denies it, in audit mode */
	REASON_OWN = 7,           /* sent by the pod itself, and come back to it through a Service */
	REASON_DROPS = 16,        /* the first one that drops */
	REASON_DENIED = 16,       /* the pod is isolated and no rule allows it */
	REASON_REVOKED = 17,      /* part of a flow that policy no longer allows */
	REASON_SPOOFED = 18,      /* from the pod, with an IP, MAC or ARP address that is not its own */
	REASON_MALFORMED = 19,    /* headers are truncated, contradict each other, or are written over later */
	REASON_FRAGMENT = 20,     /* the first fragment of the packet was not seen or not allowed */
	REASON_UNSUPPORTED = 21,  /* the Ethernet type, an IP option or an extension header is not supported */
	REASON_UNKNOWN = 22,      /* the interface has no entry in the endpoint table */
	REASON_INCOMPLETE = 23,   /* a map lacks an entry that the agent should have written */
	REASON_UNTRACKED = 24,    /* a TCP segment other than a SYN, of no known flow, and no rule allows it */
	REASON_ROUTER = 25,       /* from the pod, what only routers send, or an ICMP error about others' packets */
	REASON_LIMITED = 26,      /* from the pod, ARP, neighbour discovery, MLD or IGMP above the rate limit */
	REASON_ENCAPSULATED = 27, /* from the pod, a tunnel to a node's own address */
	REASON_MISDIRECTED =
		28, /* on a bridge, a frame to the pod for another address, or of the pod to all for one address */
	REASON_TABLE_FULL =
		29, /* policy allows it, but the flow table has no place for the flow that its replies need */
};

/* Of frames, by their Ethernet type: frames that are neither, such as ARP, count as IPv4. */
enum counted_family : __u8 { COUNTED_IPV4 = 0, COUNTED_IPV6 = 1 };

/* The verdict on a frame on an uplink; index into uplink_counters. From SCREENED_DROPS on it was dropped. */
enum screened : __u8 {
	SCREENED_PASSED = 0,      /* not IP, or from no denied prefix */
	SCREENED_NEIGHBOUR = 1,   /* ARP or IPv6 neighbour discovery, from any source */
	SCREENED_DROPS = 4,       /* the first one that drops */
	SCREENED_DENIED = 4,      /* from a denied prefix */
	SCREENED_MALFORMED = 5,   /* an IP header that is truncated or contradicts itself */
	SCREENED_UNSUPPORTED = 6, /* more VLAN tags than are parsed */
};

/* Which timeout a flow's state has; index into node.timeouts. */
enum timeout : __u8 {
	TIMEOUT_TCP_NEW = 0,
	TIMEOUT_TCP_ESTABLISHED = 1,
	TIMEOUT_TCP_CLOSING = 2,
	TIMEOUT_TCP_RESET = 3,
	TIMEOUT_UDP_NEW = 4,
	TIMEOUT_UDP_STREAM = 5,
	TIMEOUT_SCTP = 6,
	TIMEOUT_ICMP = 7,
	TIMEOUT_OTHER = 8,
	TIMEOUT_FRAGMENT = 9,
};

/* What has been seen of a flow, as bits. */
enum flow_state : __u8 {
	FLOW_REPLIED = 1,   /* the other side has answered */
	FLOW_CONFIRMED = 2, /* and the opener has spoken again */
	FLOW_FIN_OPENER = 4,
	FLOW_FIN_OTHER = 8,
	FLOW_NODE = 16,  /* opened by this node itself: never judged */
	FLOW_OWN = 32,   /* opened by the pod itself, whose packet has come back: never judged */
	FLOW_NAMED = 64, /* opened by the pod, and allowed by a domain name only: goes on when the name has expired */
};

/* What the program flow_requests does with one request. */
enum flow_operation : __u8 {
	FLOW_NOTHING = 0, /* the rest of a frame */
	FLOW_ADD = 1,     /* unless the table has the flow */
	FLOW_REPLACE = 2, /* whether or not the table has it */
	FLOW_REMOVE = 3,
};

enum flow_result : __u8 {
	FLOW_UNANSWERED = 0, /* as user space writes it */
	FLOW_DONE = 1,
	FLOW_EXISTS = 2,  /* FLOW_ADD: the table has the flow, unchanged */
	FLOW_ABSENT = 3,  /* FLOW_REMOVE: the table does not have it */
	FLOW_REFUSED = 4, /* no place may be taken from another flow */
};

/*
 * The constants, and the enums that no field has as its type: this variable puts them into the object's BTF. The loader
 * ignores its section, so that it does not become a map.
 */
const struct {
	enum reason reason;
	enum timeout timeout;
	enum counted_family counted_family;
	enum screened screened;
	/* Capacities that are part of the layout; the others are each map's max_entries. */
	enum : __u32 {
		ROW_WORDS = 64,          /* a row has one bit for each port class: 4,096 of them */
		ENDPOINTS_PLACES = 4096, /* max_entries of endpoints, a power of two */
		ENDPOINT_ADDRESSES = 4,  /* own addresses of one endpoint, each family */
		ENDPOINT_HARDWARE = 8,   /* MAC addresses of one endpoint */
		TUNNEL_PORTS = 32,
		ENDPOINT_PROBES = 8,      /* places where the entry of an interface may be */
		PORT_LINE_OTHER = 196608, /* after 65,536 places each for TCP, UDP and SCTP */
		DIRECTIONS = 2,
		VERSIONS = 2,
		FAMILIES = 2,
		REASON_BITS = 5, /* of a reason packed into a word beside other bits */
		REASONS = 1 << REASON_BITS,
		ADDRESS_FILTER_BITS = 16, /* 65,536 bits in address_filter */
		CIDR_INDEX_BITS = 16,     /* IPv4 prefixes up to this length are in cidr_index_v4 */
		CIDR_FILTER_BITS = 24,    /* a bit of cidr_filter_v4 is a block of this length */
		CIDR_FILTER_WORDS = 64,
		FRONTEND_FILTER_BITS = 20,
		FRONTEND_FILTER_WORDS = 64,
		CLOSED_FILTER_BITS = 24,
		CLOSED_FILTER_WORDS = 64,
		PEER_CACHE_BITS = 11, /* 2,048 addresses of each family, on each CPU */
		JUDGED_PLACE_AT = 1,  /* in cached_peer_v4.judged */
		JUDGED_OPENER_AT = 19,
		JUDGED_POLICY_AT = 20,
		FLOW_CACHE_BITS = 9,    /* 512 flows */
		SOCKET_CACHE_BITS = 10, /* 1,024 ports of pods */
		BUCKET_ENTRIES = 5,     /* flows in one bucket of the flow table */
		SECRET_WORDS = 5,       /* of the flow table's hash: one for each word of the longest key */
		FLOW_REQUESTS = 32,     /* in one run of the program flow_requests */
		TENANTS = 64,           /* values of endpoint.tenant */
		TIMEOUTS = 10,
		SCREENINGS = 8,
		EVENTS_EACH = 10,  /* in a second, for each endpoint, direction and reason */
		EVENTS_NODE = 100, /* and for all of them, of new flows and of all else */
		NAME_BYTES = 256,  /* of a domain name's text, the byte that ends it included */
		NAME_SLOTS = 4,    /* names from which a pod may have resolved an address at once */
		NAMES_EACH = 512,  /* addresses that a pod has resolved, and questions without an answer */
		NAME_TTL_MIN = 60, /* seconds for which an address is known by a name, whatever its record says */
		NAME_TTL_MAX = 3600,
		QUESTION_SECONDS = 10, /* for which a question waits for its answer */
		CONNECTION_SECONDS =
			120,    /* since its last question, for which a connection to a resolver is followed */
		NAME_RINGS = 2, /* enum name_ring */
		NAME_NONE = 0,  /* the pattern of no name: in name_policies, that of the policy that judges resolvers */
	} capacity;
	enum : __u32 {
		IDENTITY_ABSENT = 0xffffffff,   /* not there in this version; in `addresses`: look in `cidrs` */
		IDENTITY_FRONTEND = 0x40000000, /* in `addresses`, beside the identity: Services have ports there */
	} identity;
	enum : __u32 {
		POLICY_AUDIT = 0x80000000, /* what the policy denies passes, and is reported */
		POLICY_NAMES = 0x40000000, /* of egress: it has rules by domain names, in name_policies */
	} policy;
	/* The bits of flow_entry.data: see struct flow_entry_v4. */
	enum : __u32 {
		FLOW_EPOCH =
			0xfff80000, /* in ticks: flow time is (ticks - FLOW_EPOCH) >> node.unit_shift; the kernel starts a little later */
		FLOW_EXPIRES_BITS = 27, /* from bit 0 */
		FLOW_STAMP_AT = 27,
		FLOW_STAMP_BITS = 26,
		FLOW_STATE_AT = 53,
		FLOW_STATE_BITS = 7,
		FLOW_OPENER_AT = 60,
		FLOW_NONCE_AT = 61,
		FLOW_NONCE_BITS = 3,
		SECOND_SHIFT = 3, /* of flow time in flow_bucket.second_until, so that this has an empty byte */
	} flow_bits;
	enum : __u32 {
		TENANT_BITS = 6, /* of one place in flow_bucket.tenants */
	} tenant_bits;
	enum flow_operation flow_operation;
	enum flow_result flow_result;
	enum : __u32 {
		NODE_SCOPE = 0, /* of prefixes: no interface has this index */
	} scope;
	enum : __u32 {
		ROW_NOTHING = 0, /* allows nothing; needs no entry */
		ROW_ALL = 1,     /* allows every protocol and port; needs no entry */
		ROW_NONE = 2,    /* allows nothing, whatever other rows allow; its entry stays empty */
	} row;
} layout_anchor __attribute__((section(".layout"))) = {};

/* One per node. The lowest bit of the generation selects one of the two versions of every value below. */
struct node {
	__u32 generation;
	__u32 ticks_per_second;   /* of bpf_jiffies64 */
	__u32 timeouts[TIMEOUTS]; /* in ticks, by enum timeout; none longer than five days */
	__u32 neighbour_rate; /* packets of REASON_NEIGHBOUR from an endpoint in a second, at once or spread; 0: none */
	__u32 last_incarnation; /* the one that was given last, by the control plane, for its next start */
	__u32 unit_shift;       /* of flow time: a unit is 2^unit_shift ticks, about a second */
	__u32 reserved;
	__u64 tunnel_filter[VERSIONS];              /* Bloom filter of tunnel_ports: one bit by a port's lowest six */
	__u16 tunnel_ports[VERSIONS][TUNNEL_PORTS]; /* UDP ports at which nodes decapsulate; 0: free */
};

/* 128 bits of IPv6 address; the high half first on the wire. */
struct address_v6 {
	__be64 high;
	__be64 low;
};

/* An endpoint: a pod's host-side interface. Is at index (ifindex + i) modulo the map's size, i < ENDPOINT_PROBES. */
struct endpoint {
	__u32 ifindex; /* 0: free */
	__u16 id;      /* index into counters */
	__u16 tenant;  /* a hash of the pod's namespace, below TENANTS: who shares places in the flow table */
	__u32 policy[VERSIONS][DIRECTIONS]; /* index into policy, and POLICY_AUDIT; 0 = not isolated */
	__u8 addresses_v4_used;
	__u8 addresses_v6_used;
	__u8 more_sources; /* whether `sources_v4` or `sources_v6` has prefixes of it */
	__u8 hardware_used;
	__u32 bridge;      /* ifindex of the bridge whose port it is; 0: it is routed */
	__u32 incarnation; /* of the pod, 24 bits: the same at all its interfaces, and no other pod's for months */
	__u32 netns; /* the pod's network namespace: one more than its id in the node's (link-netnsid); 0: unknown */
	__be64 hardware_mask; /* 48 ones in the upper bits where the source of each frame is checked, else 0 */
	__be32 addresses_v4[ENDPOINT_ADDRESSES]; /* its own, for the spoof guard */
	struct address_v6 addresses_v6[ENDPOINT_ADDRESSES];
	__be64 hardware
		[ENDPOINT_HARDWARE]; /* its MAC addresses, its own first, in the upper 48 bits; none used: not known */
};

struct address_v4_key {
	__be32 address;
};

struct address_v6_key {
	struct address_v6 address;
};

/* A frontend of a Service; `place` is its port's on the port line. */
struct service_v4_key {
	__be32 address;
	__u32 place;
};

struct service_v6_key {
	struct address_v6 address;
	__u32 place;
	__u32 reserved;
};

/* Bits, lowest first. */
struct bits {
	__u64 word;
};

/* Two bits for each hash of an address, lowest first: whether a Service whose ports are not known has such an address. */
struct closed_filter {
	__u64 words[CLOSED_FILTER_WORDS];
};

/* One bit for each hash of an address, lowest first: whether a Service has had such an address since the node's start. */
struct frontend_filter {
	__u64 words[FRONTEND_FILTER_WORDS];
};

struct cidr_v4_key {
	__u32 length; /* of the prefix, in bits */
	__be32 address;
};

/* In words: a 64-bit field would need a gap after the length. */
struct cidr_v6_key {
	__u32 length;
	__be32 address[4];
};

/*
 * A prefix of a scope. Of an endpoint's interface: sources it may use besides its own addresses. Of a bridge's interface: what is on
 * its link. Of NODE_SCOPE: addresses of nodes.
 */
struct source_v4_key {
	__u32 length; /* in bits: 32 of the scope, and the prefix's own */
	__u32 ifindex;
	__be32 address;
};

struct source_v6_key {
	__u32 length;
	__u32 ifindex;
	__be32 address[4];
};

struct source {
	__u8 allowed[VERSIONS];
};

struct identity {
	__u32 number[VERSIONS];
};

/* One bit for each of 4,096 adjacent blocks of 256 IPv4 addresses, lowest first: whether a prefix is longer than CIDR_INDEX_BITS there. */
struct cidr_filter {
	__u64 words[CIDR_FILTER_WORDS];
};

/*
 * The per-CPU cache of what the maps above hold for an address in a generation, and of the policy's last answer about it, so that one cache line
 * decides about the next packet like it. `judged`, from the lowest bit; 0: no answer:
 *   1 bit    the policy allows it
 *   18 bits  the place of the port on the port line
 *   1 bit    enum direction, of the side that opens the flow
 *   12 bits  the policy's number, which is not 0
 */
struct cached_peer_v4 {
	__u32 generation;
	__u32 identity;
	__u32 judged;
	__be32 address;
};

struct cached_peer_v6 {
	struct address_v6 address;
	__u32 generation;
	__u32 identity;
	__u32 judged;
	__u32 reserved;
};

struct port_class {
	__u16 number[VERSIONS];
};

/*
 * Domain names of rules, as prefixes of names that are written backwards and in lower case: "www.example.com" is "moc.elpmaxe.www" and
 * a zero byte, "*.example.com" is "moc.elpmaxe.". So the longest prefix is that of the rule that is the most specific for a name.
 */
struct domain_name_key {
	__u32 length; /* of the prefix, in bits */
	__u8 text[NAME_BYTES];
};

struct domain_name {
	__u64 pattern; /* a hash of the rule's name, the same on every node and for ever */
};

/* The policy that judges what the most specific rule's name is `pattern` for, in the place of an endpoint's egress policy. */
struct name_policy_key {
	__u64 pattern;
	__u32 policy;
	__u32 reserved;
};

struct name_policy {
	__u32 number[VERSIONS]; /* IDENTITY_ABSENT: none in this version */
};

/* An address that a pod has resolved: of a record in the answer to a question of this pod. IPv4 addresses are in the low half. */
struct named_address_key {
	struct address_v6 address;
	__u32 incarnation;
	__u32 family; /* enum counted_family */
};

struct name_slot {
	__u64 pattern; /* 0: free */
	__u64 expires; /* in ticks; from then on it opens no flows, and those that it has opened go on */
};

struct named_address {
	struct name_slot slots[NAME_SLOTS];
	__u64 entered; /* the number of its last entry in the pod's ring: only that one's successor removes it */
};

/*
 * A question of a pod about a name that a rule has; or, without number, type and name, a connection to a resolver that is followed. IPv4 addresses are in
 * the low half.
 */
struct question_key {
	struct address_v6 resolver;
	__u32 incarnation;
	__be16 local_port;
	__be16 id;
	__be16 type;
	__u8 family; /* enum counted_family */
	__u8 tcp;    /* 1: over TCP */
	__u32 name;  /* the lower half of the hash: questions about several names may have one number */
};

struct question {
	__u64 name; /* a hash of it; of a connection, how far it has been read: see dns.h */
	__u64 expires;
	__u64 entered; /* as of an address */
};

enum name_ring : __u8 { NAME_RING_ADDRESSES = 0, NAME_RING_QUESTIONS = 1 };

/* The keys that a pod has in `names` and in `questions`, in the order of their insertion: the next insertion removes the oldest. */
struct name_ring_key {
	__u32 incarnation;
	__u32 place; /* enum name_ring * NAMES_EACH + index */
};

struct name_ring_entry {
	__u64 words[5]; /* of the key; the last is the entry's number */
};

/* What an endpoint did with names. */
struct name_counters {
	__u64 questions; /* about names that rules have */
	__u64 answers;   /* to these */
	__u64 learned;   /* addresses that were not known by that name */
	__u64 unasked;   /* answers about such names to no known question, or too late */
	__u64 malformed; /* questions about such names, and answers to them, that cannot be read to their end */
	__u64 refused; /* addresses that no name may have: loopback, link-local, multicast, also behind NAT64; or the table is full */
	__u64 evicted; /* addresses that later ones have pushed out */
	__u64 displaced; /* names of an address that others have pushed out before they expired: it has more than NAME_SLOTS */
	__u64 unread; /* answers with more records than are read, packets with more datagrams than one, segments whose place in their stream is not known */
	__u32 inserted[NAME_RINGS];
};

/* The port classes that a row holds, one bit each. */
struct row {
	__u64 bits[ROW_WORDS];
};

/* A flow as its pod sees it, so that both directions have one key, whichever of the pod's interfaces they use. */
struct flow_v4_key {
	__u32 owner; /* incarnation << 8 | IP protocol; in the first word, which an entry shows without the others */
	__be16 local_port;  /* ICMP echo: its identifier */
	__be16 remote_port; /* ICMP echo: 1 if the pod sent the request, 0 if it received it */
	__be32 local;       /* the pod's address */
	__be32 remote;
};

struct flow_v6_key {
	__u32 owner;
	__be16 local_port;
	__be16 remote_port;
	struct address_v6 local;
	struct address_v6 remote;
};

/*
 * The flow table: buckets of five entries, which user space maps and reads but never writes (bpf/flow_table.h, docs/decisions/0028).
 *
 * An entry's data, lowest bit first; 0: free.
 *   27 bits  expires: in units of flow time (see FLOW_EPOCH); expired from then on. Enough for four years.
 *   26 bits  stamp: the lowest bits of the generation under which policy last allowed the flow. At 50 changes in a second, each
 *            of two generations, they repeat after 7.7 days; the longest timeout is five.
 *    7 bits  state: enum flow_state
 *    1 bit   opener: enum direction
 *    3 bits  nonce of the insertion
 * Opener and nonce never change while the entry is in use. Key words are not stored as they are, so that words of two entries do not make a third:
 *   key[i] = word[i] ^ chain[i] ^ (data >> FLOW_OPENER_AT) * secret.entry
 *   chain[0] = 0, chain[i + 1] = mix(chain[i] ^ word[i]), mix(x) = y ^ y >> 32 with y = x * secret.chain
 * All of it modulo 2^64; word[i] are those of struct flow_v4_key or flow_v6_key, little endian.
 */
struct flow_entry_v4 {
	__u64 data;
	__u64 key[2];
};

struct flow_entry_v6 {
	__u64 data;
	__u64 key[5];
};

/* Two cache lines; IPv6 four. */
struct flow_bucket_v4 {
	__u32 second_until; /* in units << SECOND_SHIFT: to its end a flow of this bucket may be in its second one; 24 bits */
	__u32 tenants; /* TENANT_BITS for each place, the first place's lowest: endpoint.tenant of its flow */
	struct flow_entry_v4 entries[BUCKET_ENTRIES];
};

struct flow_bucket_v6 {
	__u32 second_until;
	__u32 tenants;
	struct flow_entry_v6 entries[BUCKET_ENTRIES];
	__u64 reserved;
};

/*
 * Belongs to the tables that are pinned beside it: random, written once, before any program runs, and never shown to anyone. Hash of a key: the sum over i of
 * (low half of word[i] + low half of hash[i], modulo 2^32) * (the same of the high halves), then x * finish, then x ^ x >> 32.
 */
struct flow_secret {
	__u64 hash[SECRET_WORDS];
	__u64 finish; /* odd, as the next two */
	__u64 chain;
	__u64 entry;
	__u32 buckets[FAMILIES]; /* max_entries of conntrack_v4 and conntrack_v6 */
};

/* What one CPU did to one family's table. */
struct flow_statistics {
	__u64 inserted;
	__u64 evicted_own;    /* live entries that an insertion took from the same pod */
	__u64 evicted_others; /* or from another pod: unconfirmed ones */
	__u64 refused;        /* insertions that found no place: REASON_TABLE_FULL */
	__u64 contended;      /* insertions that other CPUs kept from a place */
};

/*
 * One request to the program flow_requests, which is never attached: user space runs it (BPF_PROG_TEST_RUN) on a frame of up to FLOW_REQUESTS of
 * these and reads the results from the frame that comes back.
 */
struct flow_request {
	struct address_v6 local; /* IPv4 addresses are in the low half */
	struct address_v6 remote;
	__be16 local_port;
	__be16 remote_port;
	__u32 owner;
	__u64 expires; /* in ticks */
	__u32 generation;
	enum direction opener;
	enum flow_state state;
	__u8 family; /* enum counted_family */
	enum flow_operation operation;
	enum flow_result result; /* written by the program */
	__u8 tenant;
	__u8 reserved[6];
};

/* A flow whose entry this CPU has refreshed in this tick, by its key's words: no look-up is needed until the next tick. */
struct cached_flow_v4 {
	__u64 word[2];
	__u64 tick;
	__u32 generation;
	__u32 exempt; /* FLOW_NODE or FLOW_OWN if no policy applies to its packets; else enum cached_kind */
};

struct cached_flow_v6 {
	__u64 word[5];
	__u64 tick;
	__u32 generation;
	__u32 exempt; /* FLOW_NODE or FLOW_OWN if no policy applies to its packets; else enum cached_kind */
};

/*
 * IPv4 addresses are in the low half. IPv6 fragments have no protocol here: only the first fragment's is valid, and
 * reassembly ignores that of later ones (RFC 8200 4.5).
 */
struct fragment_key {
	struct address_v6 source;
	struct address_v6 destination;
	__be32 id;
	__u32 interface; /* ifindex << 8 | IP protocol */
	__u32 direction;
	__u32 reserved;
};

struct fragment {
	__u64 expires; /* in ticks */
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 icmp_type;
	__u8 echo; /* the ports are an ICMP echo's identifier */
	__u8 reserved;
};

/* A CPU's working memory for one packet; only the programs on this CPU may read it. */
struct scratch {
	__u64 words[40];
};

struct count {
	__u64 packets;
	__u64 bytes;
};

/* What one CPU saw of one endpoint. */
struct counters {
	struct count count[FAMILIES][DIRECTIONS][REASONS];
};

/* The uplinks' settings. */
struct uplink {
	__u32 version; /* the lowest bit selects the active list of denied prefixes: both families switch at once */
};

/* What one CPU saw on all uplinks. */
struct uplink_counters {
	struct count count[SCREENINGS];
};

/* The report of a packet. If it cannot be parsed, the ports and the destination are missing, or all addresses are. */
struct event {
	__u64 time;               /* CLOCK_MONOTONIC, in ns */
	struct address_v6 source; /* IPv4 addresses are in the low half, here and in the next */
	struct address_v6 destination;
	__u32 ifindex;
	__u32 endpoint; /* its id; 0: none */
	__u32 generation;
	__u32 identity; /* of the other end, in this generation */
	__u32 bytes;
	__be16 source_port; /* as in flow_v4_key for an ICMP echo */
	__be16 destination_port;
	enum direction direction;
	enum reason reason;
	__u8 protocol;
	__u8 family;           /* 0: neither; 1: IPv4, or ARP; 2: IPv6 */
	enum direction opener; /* whose policy judged it: the side that opened the flow, or tries to */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 opens; /* 1: it opens a connection (TCP, SCTP), so that its sender is the opener */
};

/* Like layout_anchor: it does not become a map. */
const struct {
	struct event event;
} event_anchor __attribute__((section(".layout"))) = {};

const struct {
	struct flow_request request;
	struct flow_v4_key v4;
	struct flow_v6_key v6;
} flow_anchor __attribute__((section(".layout"))) = {};

/* A rate limit: how much of it is used in a period. */
struct rate {
	__u64 ends; /* of the period, in ticks */
	__u32 used;
	__u32 reserved;
};

/* How many events of an endpoint, a direction and a reason there were in a second, and ever. */
struct event_bucket {
	__u64 ends; /* of the second, in ticks */
	__u32 used;
	__u32 flows; /* in the node's bucket of new flows: they are reported */
	__u64 written;
	__u64 lost; /* the ring buffer was full */
};

/* What the programs assume about the above. */
_Static_assert(DIRECTIONS == 2 && VERSIONS == 2 && FAMILIES == 2, "indexes are masked with 1");
_Static_assert((ENDPOINTS_PLACES & (ENDPOINTS_PLACES - 1)) == 0, "indexes into endpoints are masked");
_Static_assert((ROW_WORDS & (ROW_WORDS - 1)) == 0, "indexes into a row are masked");
_Static_assert(CIDR_FILTER_BITS == 24 && CIDR_FILTER_WORDS == 64,
	       "an index into cidr_filter_v4 has 12 bits, as a bit's within it");
_Static_assert(PORT_LINE_OTHER == 3 * 65536, "place_of() has 65,536 places for each protocol with ports");
_Static_assert(PORT_LINE_OTHER < 1 << (JUDGED_OPENER_AT - JUDGED_PLACE_AT), "a place fits into cached_peer_v4.judged");
_Static_assert(sizeof(enum reason) == 1 && REASON_DROPS < REASONS, "reasons are packed into REASON_BITS");
_Static_assert(REASON_NOT_ISOLATED == 0 && REASON_ESTABLISHED == 1, "the most frequent reasons are the first two");
_Static_assert(SCREENED_DROPS < SCREENINGS, "uplink_counters has a place for each");
_Static_assert(__builtin_offsetof(struct node, generation) % sizeof(__u32) == 0, "activated by one aligned store");
_Static_assert(sizeof(struct node) % sizeof(__u64) == 0 && sizeof(struct endpoint) % sizeof(__u64) == 0,
	       "values of arrays follow one another without padding");
_Static_assert(sizeof(struct row) == ROW_WORDS * sizeof(__u64), "bits by words");
_Static_assert((NAMES_EACH & (NAMES_EACH - 1)) == 0, "indexes into a ring are masked");
_Static_assert(sizeof(struct question_key) <= sizeof(struct name_ring_entry) - sizeof(__u64) &&
		       sizeof(struct named_address_key) <= sizeof(struct name_ring_entry) - sizeof(__u64),
	       "rings hold keys of both, and a number");
_Static_assert(sizeof(struct address_v6) == 16, "copied from and to headers of IPv6");
_Static_assert(sizeof(struct cidr_v6_key) == sizeof(__u32) + sizeof(struct address_v6), "the address is used as a key");
_Static_assert(sizeof(struct flow_v4_key) == 2 * sizeof(__u64), "hashed and compared as words");
_Static_assert(sizeof(struct flow_v6_key) == 5 * sizeof(__u64), "hashed and compared as words");
_Static_assert(sizeof(struct flow_bucket_v4) == 128 && sizeof(struct flow_bucket_v6) == 256, "whole cache lines");
_Static_assert(sizeof(struct flow_request) == 64, "a frame of FLOW_REQUESTS is 2 KiB");
_Static_assert(FLOW_STAMP_AT == FLOW_EXPIRES_BITS && FLOW_STATE_AT == FLOW_STAMP_AT + FLOW_STAMP_BITS &&
		       FLOW_OPENER_AT == FLOW_STATE_AT + FLOW_STATE_BITS && FLOW_NONCE_AT == FLOW_OPENER_AT + 1 &&
		       FLOW_NONCE_AT + FLOW_NONCE_BITS == 64,
	       "the fields of an entry's data fill it");
_Static_assert(FLOW_EXPIRES_BITS - SECOND_SHIFT <= 24, "the highest byte of second_until is always 0");
_Static_assert(TENANTS == 1 << TENANT_BITS && BUCKET_ENTRIES * TENANT_BITS <= 32, "tenants of a bucket are one word");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "hashes, and the words of keys, are those of a little-endian machine");
_Static_assert(sizeof(struct event) % sizeof(__u64) == 0, "the ring buffer rounds records up to 8 bytes");

#endif
