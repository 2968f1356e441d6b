/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * DNS (RFC 1035) of pods that have rules by domain names: their questions, and the addresses in the answers, which are stored
 * before the pod gets the answer. Only questions that its policy for egress allows, to port 53 by UDP or TCP, about names that a rule
 * has, are remembered, each for one answer.
 *
 * Owner names of records are not compared with the question, and CNAMEs not followed: a record in the answer can
 * give any address under the question's own name. So no compressed name is ever followed.
 *
 * Over TCP a message begins where the resolver's stream begins, or where the message before it ends, and nowhere else: what a third party has put into a
 * record could otherwise be taken for one. So the stream is followed from the resolver's SYN-ACK on. See docs/decisions/0035.
 */
#ifndef WEIR_DNS_H
#define WEIR_DNS_H

#include "conntrack.h"
#include "endpoint.h"
#include "layout.h"
#include "maps.h"
#include "packet.h"
#include "names.h"
#include "packet_verdict.h"

#define UDP_HEADER 8
#define UDP_LENGTH_AT 4
#define DNS_BYTES 4096   /* of a message, read at most; a power of two */
#define DNS_NAME_MAX 253 /* bytes of a name's text */
#define DNS_LABEL_MAX 63
#define DNS_LABELS_MAX 127
#define DNS_RECORDS_MAX 64 /* of an answer, read at most */
#define DNS_IN 1
#define DNS_A 1
#define DNS_AAAA 28
#define DNS_POINTER 0xc0
#define TCP_LENGTH 2       /* bytes before a message over TCP: its length */
#define SEGMENT_MESSAGES 8 /* of a TCP segment, read at most */

struct dns_header {
	__be16 id;
	__u8 flags; /* DNS_RESPONSE, and the operation: 0 is a standard query */
	__u8 code;  /* of the response in the lower half */
	__be16 questions;
	__be16 answers;
	__be16 others[2];
};

#define ENTRY_NUMBER 4 /* the word of a ring's entry that has its number, of 32 bits */
#define ENTRY_NONE (~0ULL)

#define DNS_RESPONSE 0x80
#define DNS_OPERATION 0x78

/* What follows the name in a question, and begins what follows it in a record. */
struct dns_type {
	__be16 type;
	__be16 class;
};

struct tcp_header {
	__be16 ports[2];
	__be32 sequence;
	__be32 acknowledged;
	__u8 words; /* of the header, in the upper half */
	__u8 flags;
	__u8 others[6];
};

/* The payload of a TCP segment. */
struct tcp_segment {
	__u32 sequence; /* of its first byte */
	__u32 bytes;
	__u32 at;       /* in the frame */
	__u32 read;     /* bytes of a pod's segment whose messages have been read */
	__u32 messages; /* of a resolver that have been read */
	__u8 opens;     /* 1: a SYN of the pod, which next_message() enters */
	__u8 ends;      /* 1: has a FIN */
	__u8 reserved[6];
};

/* A CPU's working memory for a message. */
struct dns_scratch {
	__u8 message[DNS_BYTES];
	__u8 margin[DNS_BYTES]; /* for reads beyond an index that is below DNS_BYTES */
	/* The text of a name backwards, written from its end towards its beginning; a key begins before it. */
	__u8 key[sizeof(__u32) + NAME_BYTES];
	__u8 key_margin[NAME_BYTES + sizeof(__u32)]; /* for the rest of a key that begins anywhere before the text */
	struct question_key question;
	struct question sent;
	struct named_address_key address;
	struct named_address fresh;
	struct name_ring_entry entry;
	__u64 pattern;
	__u64 ticks_per_second;
	__u32 endpoint;
	__u32 bytes;   /* of the message */
	__be16 length; /* of the datagram, as its header says; of a message over TCP */
	__u8 cut;      /* 1: the message continues in another segment */
	__u8 reserved[5];
	struct tcp_header tcp;
	struct tcp_segment segment;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dns_scratch);
} dns_scratch SEC(".maps");

static __always_inline struct dns_scratch *dns_scratch_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dns_scratch, &zero);
}

static __always_inline struct name_counters *name_counters_of(const struct dns_scratch *memory)
{
	return bpf_map_lookup_elem(&name_counters, &memory->endpoint);
}

#define count_name(memory, field)                                                                                      \
	({                                                                                                             \
		struct name_counters *_counters = name_counters_of(memory);                                            \
		if (_counters)                                                                                         \
			__sync_fetch_and_add(&_counters->field, 1);                                                    \
	})

/* Without the barrier the compiler would leave out the mask where it sees a bound, which the verifier of Linux 6.1 does not. */
static __always_inline __u8 byte_at(const struct dns_scratch *memory, __u32 at)
{
	asm volatile("" : "+r"(at));
	return memory->message[at & (DNS_BYTES - 1)];
}

static __always_inline __u16 read_be16(const struct dns_scratch *memory, __u32 at)
{
	return (__u16)byte_at(memory, at) << 8 | byte_at(memory, at + 1);
}

#define TEXT_END (sizeof(__u32) + NAME_BYTES - 1) /* where the text of a name begins, which goes backwards */
#define TEXT_MASK (NAME_BYTES - 1)

struct name_reader {
	struct dns_scratch *memory;
	__u64 hash;   /* FNV-1a of the text */
	__u32 start;  /* of the name in the message */
	__u32 left;   /* bytes of the label; the next byte is a label's length if it is 0 */
	__u32 length; /* of the text */
	bool valid;
};

/* Reads one byte of a name. Only letters, digits, hyphens and underscores: a rule's name has no others, and a label with a dot would look like two. */
static long read_name_byte(__u32 index, struct name_reader *reader)
{
	struct dns_scratch *memory = reader->memory;
	__u8 byte = byte_at(memory, reader->start + index);

	if (reader->left == 0) {
		if (byte == 0) {
			reader->valid = index > 0;
			return 1;
		}
		if (byte > DNS_LABEL_MAX)
			return 1;
		reader->left = byte;
		if (index == 0)
			return 0;
		byte = '.';
	} else {
		reader->left--;
		if (byte >= 'A' && byte <= 'Z')
			byte += 'a' - 'A';
		if (!((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_'))
			return 1;
	}
	reader->hash = (reader->hash ^ byte) * 0x100000001b3ULL;
	memory->key[TEXT_END - 1 - (reader->length & TEXT_MASK)] = byte;
	reader->length++;
	return 0;
}

/*
 * Reads the name of the only question, at `start`; the offset of what follows it, or 0 if it is not the name of a host. Its hash is in
 * `memory->sent.name`, and `memory->pattern` is that of the most specific rule, or 0.
 */
static __always_inline __u32 read_question_name(struct dns_scratch *memory, __u32 start)
{
	struct name_reader reader = { .memory = memory, .start = start, .hash = 0xcbf29ce484222325ULL };
	struct domain_name *found;
	__u32 bits, at;

	memory->pattern = 0;
	bpf_loop(DNS_NAME_MAX + 2, read_name_byte, &reader, 0);
	if (!reader.valid || reader.length > DNS_NAME_MAX)
		return 0;
	memory->sent.name = reader.hash;
	/* The byte after the text is 0, and the length is before it. */
	memory->key[TEXT_END] = 0;
	at = TEXT_END - sizeof(__u32) - (reader.length & TEXT_MASK);
	if (at > TEXT_END - sizeof(__u32))
		return 0;
	bits = (reader.length + 1) * 8;
	memory->key[at] = bits;
	memory->key[at + 1] = bits >> 8;
	memory->key[at + 2] = 0;
	memory->key[at + 3] = 0;
	found = bpf_map_lookup_elem(&domain_names, &memory->key[at]);
	if (found)
		memory->pattern = found->pattern;
	return start + reader.length + 2;
}

/*
 * Enters the key in the scratch in one of the pod's rings. The key that it takes the place of is removed from its map, but for one that has been
 * entered again since. False if the ring has no memory: then the key would stay for ever.
 */
static __always_inline bool enter_ring(struct dns_scratch *memory, enum name_ring ring)
{
	struct name_ring_key key = { .incarnation = memory->question.incarnation };
	struct name_counters *counters = name_counters_of(memory);
	struct name_ring_entry *oldest;
	struct named_address *named;
	struct question *asked;
	__u32 number;

	if (!counters)
		return false;
	number = __sync_fetch_and_add(&counters->inserted[ring], 1);
	key.place = ring * NAMES_EACH + (number & (NAMES_EACH - 1));
	oldest = bpf_map_lookup_elem(&name_rings, &key);
	if (ring == NAME_RING_QUESTIONS) {
		asked = oldest ? bpf_map_lookup_elem(&questions, oldest) : NULL;
		if (asked && asked->entered == oldest->words[ENTRY_NUMBER])
			bpf_map_delete_elem(&questions, oldest);
	} else {
		named = oldest ? bpf_map_lookup_elem(&names, oldest) : NULL;
		if (named && named->entered == oldest->words[ENTRY_NUMBER] && bpf_map_delete_elem(&names, oldest) == 0)
			__sync_fetch_and_add(&counters->evicted, 1);
	}
	memory->entry.words[ENTRY_NUMBER] = number;
	return bpf_map_update_elem(&name_rings, &key, &memory->entry, BPF_ANY) == 0;
}

static __always_inline bool enter_address(struct dns_scratch *memory)
{
	__builtin_memset(&memory->entry, 0, sizeof(memory->entry));
	__builtin_memcpy(&memory->entry, &memory->address, sizeof(memory->address));
	return enter_ring(memory, NAME_RING_ADDRESSES);
}

/* An address that is resolved again moves to the ring's end, if half of the ring has been entered since: one that is used is not pushed out. */
static __always_inline void enter_again(struct dns_scratch *memory, struct named_address *named)
{
	const struct name_counters *counters = name_counters_of(memory);
	__u64 before = named->entered;

	if (!counters || counters->inserted[NAME_RING_ADDRESSES] - (__u32)before <= NAMES_EACH / 2)
		return;
	/* Of no entry: it may be its own one whose place it takes. */
	named->entered = ENTRY_NONE;
	named->entered = enter_address(memory) ? memory->entry.words[ENTRY_NUMBER] : before;
}

static __always_inline bool enter_question(struct dns_scratch *memory)
{
	__builtin_memset(&memory->entry, 0, sizeof(memory->entry));
	__builtin_memcpy(&memory->entry, &memory->question, sizeof(memory->question));
	return enter_ring(memory, NAME_RING_QUESTIONS);
}

/* Remembers the question or the connection in the scratch. */
static __always_inline bool keep_question(struct dns_scratch *memory, __u32 seconds)
{
	const struct question *before = bpf_map_lookup_elem(&questions, &memory->question);

	memory->sent.expires = now() + seconds * memory->ticks_per_second;
	if (before) {
		/* Repeated under the same number: it is in the ring. */
		memory->sent.entered = before->entered;
	} else {
		if (!enter_question(memory))
			return false;
		memory->sent.entered = memory->entry.words[ENTRY_NUMBER];
	}
	return bpf_map_update_elem(&questions, &memory->question, &memory->sent, BPF_ANY) == 0;
}

#define NAT64_HIGH 0x0064ff9b00000000ULL /* of 64:ff9b::/96 (RFC 6052), whose addresses end with one of IPv4 */

/* Addresses that lead back to the pod, to its link or to a group: a name that has them is an attempt to reach what no name is for. */
static __always_inline bool is_nameless(const struct named_address_key *key)
{
	const __u8 *bytes = (const void *)&key->address;
	bool is_nat64 =
		key->address.high == bpf_cpu_to_be64(NAT64_HIGH) && bpf_be64_to_cpu(key->address.low) >> 32 == 0;

	if (key->family == COUNTED_IPV4 || is_nat64) {
		bytes = (const void *)&key->address.low;
		if (is_nat64)
			bytes += sizeof(__be32);
		return bytes[0] == 0 || bytes[0] == 127 || bytes[0] >= 224 || (bytes[0] == 169 && bytes[1] == 254);
	}
	return key->address.high == 0 || bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

/* Takes a slot for the pattern, in the order of preference: its own, a free or expired one, the one that expires next. */
static __always_inline void learn_in(struct dns_scratch *memory, struct named_address *named, __u64 expires)
{
	struct name_slot *slot, *best = NULL;
	__u64 seen, over, soonest = ~0ULL;

	for (__u32 i = 0; i < NAME_SLOTS; i++) {
		slot = &named->slots[i];
		if (slot->pattern == memory->pattern) {
			if (slot->expires < expires)
				slot->expires = expires;
			return;
		}
		if (slot->expires < soonest) {
			soonest = slot->expires;
			best = slot;
		}
	}
	if (!best)
		return;
	/* Another CPU may take it for another name: then this one is known after the next answer. */
	seen = best->pattern;
	over = best->expires;
	if (__sync_val_compare_and_swap(&best->pattern, seen, memory->pattern) != seen)
		return;
	best->expires = expires;
	count_name(memory, learned);
	if (seen && !expired(over))
		count_name(memory, displaced);
}

/* Stores the address in the scratch under the name in the scratch. */
static __always_inline void learn(struct dns_scratch *memory, __u32 ttl)
{
	struct named_address *named;
	__u64 expires;

	if (is_nameless(&memory->address)) {
		count_name(memory, refused);
		return;
	}
	ttl = ttl < NAME_TTL_MIN ? NAME_TTL_MIN : ttl > NAME_TTL_MAX ? NAME_TTL_MAX : ttl;
	expires = now() + ttl * memory->ticks_per_second;
	named = bpf_map_lookup_elem(&names, &memory->address);
	if (!named) {
		if (!enter_address(memory)) {
			count_name(memory, refused);
			return;
		}
		__builtin_memset(&memory->fresh, 0, sizeof(memory->fresh));
		memory->fresh.slots[0].pattern = memory->pattern;
		memory->fresh.slots[0].expires = expires;
		memory->fresh.entered = memory->entry.words[ENTRY_NUMBER];
		if (bpf_map_update_elem(&names, &memory->address, &memory->fresh, BPF_NOEXIST) == 0) {
			count_name(memory, learned);
			return;
		}
		named = bpf_map_lookup_elem(&names, &memory->address);
	} else {
		enter_again(memory, named);
	}
	if (named)
		learn_in(memory, named, expires);
	else
		count_name(memory, refused);
}

struct record_reader {
	struct dns_scratch *memory;
	__u32 at;
	__u32 end;
	bool broken;
};

struct name_skipper {
	const struct dns_scratch *memory;
	__u32 at;
	bool whole;
};

/* Skips one label, or what ends a name. */
static long skip_label(__attribute__((unused)) __u32 index, struct name_skipper *skipper)
{
	__u8 length = byte_at(skipper->memory, skipper->at);

	skipper->whole = length == 0 || length >= DNS_POINTER;
	skipper->at += length >= DNS_POINTER ? 2 : length + 1;
	return skipper->whole || length > DNS_LABEL_MAX;
}

/* Behind the name at `at`, or beyond the end. */
static __always_inline __u32 skip_name(const struct dns_scratch *memory, __u32 at)
{
	struct name_skipper skipper = { .memory = memory, .at = at };

	bpf_loop(DNS_LABELS_MAX + 1, skip_label, &skipper, 0);
	return skipper.whole ? skipper.at : DNS_BYTES;
}

/* Reads one record of the answer, and learns its address. */
static long read_record(__attribute__((unused)) __u32 index, struct record_reader *reader)
{
	struct dns_scratch *memory = reader->memory;
	__u32 at = skip_name(memory, reader->at), bytes, ttl;
	__u16 type, length;

	reader->broken = true;
	if (at + 10 > reader->end)
		return 1;
	type = read_be16(memory, at);
	ttl = (__u32)read_be16(memory, at + 4) << 16 | read_be16(memory, at + 6);
	length = read_be16(memory, at + 8);
	if (at + 10 + length > reader->end)
		return 1;
	reader->broken = false;
	reader->at = at + 10 + length;
	if (read_be16(memory, at + 2) != DNS_IN)
		return 0;
	bytes = (at + 10) & (DNS_BYTES - 1);
	memory->address.address = (struct address_v6){};
	if (type == DNS_A && length == sizeof(__be32)) {
		memory->address.family = COUNTED_IPV4;
		__builtin_memcpy(&memory->address.address.low, &memory->message[bytes], sizeof(__be32));
	} else if (type == DNS_AAAA && length == sizeof(struct address_v6)) {
		memory->address.family = COUNTED_IPV6;
		__builtin_memcpy(&memory->address.address, &memory->message[bytes], sizeof(struct address_v6));
	} else {
		return 0;
	}
	learn(memory, ttl >> 31 ? 0 : ttl); /* RFC 2181 8: a TTL with the highest bit counts as 0 */
	return 0;
}

/* The answer to a question of the pod: the first one. */
static __always_inline void read_answer(struct dns_scratch *memory, __u32 at, __u32 answers)
{
	struct question *question = bpf_map_lookup_elem(&questions, &memory->question);
	struct record_reader reader = { .memory = memory, .at = at, .end = memory->bytes };

	if (!question || question->name != memory->sent.name || expired(question->expires) ||
	    bpf_map_delete_elem(&questions, &memory->question) != 0) {
		count_name(memory, unasked);
		return;
	}
	count_name(memory, answers);
	memory->address.incarnation = memory->question.incarnation;
	bpf_loop(answers < DNS_RECORDS_MAX ? answers : DNS_RECORDS_MAX, read_record, &reader, 0);
	if (reader.broken && !memory->cut)
		count_name(memory, malformed);
	else if (reader.broken || answers > DNS_RECORDS_MAX)
		count_name(memory, unread);
}

/*
 * Reads the message that load_dns() has left in the scratch: a question of the pod, or an answer to it. A global function, as the next ones: the
 * verifier follows it once, and each has the stack to itself.
 */
__noinline int read_dns(__u32 direction)
{
	struct dns_scratch *memory = dns_scratch_of_cpu();
	const struct dns_header *header;
	const struct dns_type *type;
	bool response = direction == DIRECTION_INGRESS;
	__u32 at;

	if (!memory || sizeof(*header) > memory->bytes)
		return 0;
	header = (const void *)memory->message;
	if (!!(header->flags & DNS_RESPONSE) != response || header->flags & DNS_OPERATION ||
	    header->questions != bpf_htons(1) || (response && header->code & 0x0f))
		return 0;
	at = read_question_name(memory, sizeof(*header));
	if (!at || !memory->pattern)
		return 0;
	if (at + sizeof(*type) > memory->bytes) {
		count_name(memory, malformed);
		return 0;
	}
	type = (const void *)&memory->message[at & (DNS_BYTES - 1)];
	if (type->class != bpf_htons(DNS_IN) || (type->type != bpf_htons(DNS_A) && type->type != bpf_htons(DNS_AAAA)))
		return 0;
	memory->question.id = header->id;
	memory->question.type = type->type;
	memory->question.name = memory->sent.name;
	if (response)
		read_answer(memory, at + sizeof(*type), bpf_ntohs(header->answers));
	else if (keep_question(memory, QUESTION_SECONDS))
		count_name(memory, questions);
	return 0;
}

enum dns_kind { DNS_NOTHING, DNS_DATAGRAM, DNS_SEGMENT };

/* Loads a message of at least one byte into the scratch; of a longer one, the beginning. */
static __always_inline bool load_message(hook_context *hook, struct dns_scratch *memory, __u32 at, __u32 bytes)
{
	if (bytes > DNS_BYTES)
		bytes = DNS_BYTES;
	/* The same number: a bound that the verifier of Linux 6.1 sees, and the compiler does not see to be unnecessary. */
	asm volatile("" : "+r"(bytes));
	bytes = ((bytes - 1) & (DNS_BYTES - 1)) + 1;
	memory->bytes = bytes;
	return hook_load(hook, at, memory->message, bytes);
}

static __always_inline int load_datagram(hook_context *hook, struct dns_scratch *memory, const struct packet *packet,
					 __u32 at)
{
	__u32 length;

	if (packet->payload <= UDP_HEADER ||
	    !hook_load(hook, at + UDP_LENGTH_AT, &memory->length, sizeof(memory->length)))
		return DNS_NOTHING;
	/* What is behind the datagram no socket gets. One longer than its packet is none, but for the rest in later fragments. */
	length = bpf_ntohs(memory->length);
	if (length <= UDP_HEADER || (length > packet->payload && !is_first_fragment(packet)))
		return DNS_NOTHING;
	if (!load_message(hook, memory, at + UDP_HEADER,
			  (length < packet->payload ? length : packet->payload) - UDP_HEADER))
		return DNS_NOTHING;
	memory->cut = 0;
	/* Several datagrams in one packet: where the others begin is known only if its kind is, and only the first is read. */
	if (hook_segment(hook) && hook_segment(hook) < length - UDP_HEADER)
		count_name(memory, unread);
	return DNS_DATAGRAM;
}

static __always_inline int load_segment(hook_context *hook, struct dns_scratch *memory, const struct packet *packet,
					__u32 at)
{
	__u32 header;

	if (!hook_load(hook, at, &memory->tcp, sizeof(memory->tcp)))
		return DNS_NOTHING;
	header = (memory->tcp.words >> 4) * sizeof(__u32);
	if (packet->payload < header)
		return DNS_NOTHING;
	memory->segment = (struct tcp_segment){
		.sequence = bpf_ntohl(memory->tcp.sequence) + (memory->tcp.flags & TCP_SYN ? 1 : 0),
		.bytes = packet->payload - header,
		.at = at + header,
		.opens = is_syn(packet),
		.ends = !!(memory->tcp.flags & TCP_FIN),
	};
	return DNS_SEGMENT;
}

/* Puts into the scratch who a packet is from or to: with a number, a name and a type the key of a question, without them that of a connection. */
static __always_inline void question_of(struct dns_scratch *memory, const struct packet *packet,
					const struct endpoint *endpoint, bool out)
{
	memory->question = (struct question_key){
		.resolver = out ? packet->destination : packet->source,
		.incarnation = endpoint->incarnation,
		.local_port = out ? packet->source_port : packet->destination_port,
		.family = is_v6(packet) ? COUNTED_IPV6 : COUNTED_IPV4,
		.tcp = packet->protocol == IPPROTO_TCP,
	};
}

/*
 * Whether a packet that passes is DNS: an enum dns_kind. A message over UDP is in the CPU's scratch then, of TCP what follow_segment() needs; and who it is
 * from or to, and the packet in the other scratch. That one looks up the ports of a pod's later fragments.
 */
__noinline int load_dns(hook_context *hook, view_t view)
{
	const struct endpoint *endpoint = endpoint_of(interface_of(hook));
	struct scratch_space *packets = scratch_of_cpu();
	struct dns_scratch *memory = dns_scratch_of_cpu();
	const struct node *here = settings_of_node();
	bool out = (view & 1) == DIRECTION_EGRESS;
	const struct packet *packet;
	__u32 at;
	int parsed;

	if (!endpoint || !packets || !memory || !here)
		return DNS_NOTHING;
	parsed = parse_frame(hook);
	packet = &packets->packet;
	if ((parsed & PARSED_MASK) != PARSED_IP)
		return DNS_NOTHING;
	memory->endpoint = endpoint->id;
	memory->ticks_per_second = here->ticks_per_second;
	if (is_later_fragment(packet))
		return out ? DNS_SEGMENT : DNS_NOTHING;
	if ((packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_TCP) ||
	    (out ? packet->destination_port : packet->source_port) != bpf_htons(DNS_PORT))
		return DNS_NOTHING;
	question_of(memory, packet, endpoint, out);
	at = parsed >> PARSED_BITS & EXTENSIONS_MASK;
	return packet->protocol == IPPROTO_UDP ? load_datagram(hook, memory, packet, at)
					       : load_segment(hook, memory, packet, at);
}

/*
 * What is known of a connection to a resolver, in question.name, lowest bit first:
 *   32 bits  sequence number: what the resolver's SYN-ACK must acknowledge at least; then that of the next byte of its stream that is to be read
 *   16 bits  STREAM_OPENING: bytes of data with the SYN; STREAM_LENGTH: length of the message that begins there
 *   8 bits   enum stream_state
 */
enum stream_state {
	STREAM_OPENING = 1, /* the pod has sent a SYN */
	STREAM_OPENED = 2,  /* and the resolver the SYN-ACK to it, with which its stream begins */
	STREAM_READ = 3,    /* a message begins at the sequence number, with its length */
	STREAM_LENGTH = 4,  /* its length was the end of a segment */
};

#define STREAM_LENGTH_AT 32
#define STREAM_STATE_AT 56

static __always_inline __u64 stream_word(enum stream_state state, __u32 sequence, __u32 length)
{
	return (__u64)state << STREAM_STATE_AT | (__u64)length << STREAM_LENGTH_AT | sequence;
}

static __always_inline enum stream_state stream_state(__u64 word)
{
	return word >> STREAM_STATE_AT;
}

static __always_inline __u16 stream_length(__u64 word)
{
	return word >> STREAM_LENGTH_AT;
}

/* The connection of the segment in the scratch, whose question may have been read meanwhile. */
static __always_inline struct question *find_stream(struct dns_scratch *memory)
{
	struct question *stream;

	memory->question.id = 0;
	memory->question.type = 0;
	memory->question.name = 0;
	stream = bpf_map_lookup_elem(&questions, &memory->question);
	return stream && !expired(stream->expires) ? stream : NULL;
}

/* Nothing more is read of the connection until its next SYN. */
static __always_inline int lose_stream(struct dns_scratch *memory, bool unread)
{
	bpf_map_delete_elem(&questions, &memory->question);
	if (unread)
		count_name(memory, unread);
	return 0;
}

/* Keeps a connection that is used: its own questions, too, would push it out of the ring. */
static __always_inline void keep_stream(struct dns_scratch *memory, struct question *stream)
{
	const struct name_counters *counters = name_counters_of(memory);
	__u64 before = stream->entered;

	stream->expires = now() + CONNECTION_SECONDS * memory->ticks_per_second;
	if (!counters || counters->inserted[NAME_RING_QUESTIONS] - (__u32)before <= NAMES_EACH / 2)
		return;
	/* As in enter_again(). */
	stream->entered = ENTRY_NONE;
	stream->entered = enter_question(memory) ? memory->entry.words[ENTRY_NUMBER] : before;
}

/*
 * A segment of the pod: whether there may be questions in it, or it opens a connection. A resolver that answers with SYN cookies takes any acknowledgement of any of them
 * for the beginning of a connection, so that the pod chooses where its stream begins: until the first answer only what acknowledges just the SYN-ACK that is known may
 * come from the pod.
 */
static __always_inline int follow_pod(struct dns_scratch *memory, struct question *stream)
{
	__u64 word = stream ? stream->name : 0;

	if (memory->segment.opens) {
		lose_stream(memory, false);
		return 1;
	}
	if (!stream)
		return 0;
	if (memory->tcp.flags & (TCP_RST | TCP_SYN) || stream_state(word) == STREAM_OPENING ||
	    (stream_state(word) == STREAM_OPENED && bpf_ntohl(memory->tcp.acknowledged) != (__u32)word))
		return lose_stream(memory, false);
	if (!memory->segment.bytes)
		return 0;
	keep_stream(memory, stream);
	return 1;
}

/*
 * A segment of a resolver: whether it has bytes of the stream that are to be read next. Its first bytes must come first: where they do not, the stream may have begun
 * elsewhere than its SYN-ACK says.
 */
static __always_inline int follow_resolver(struct dns_scratch *memory, struct question *stream)
{
	const struct tcp_segment *segment = &memory->segment;
	__u64 word = stream ? stream->name : 0;
	__u32 behind = (__u32)word - segment->sequence;

	if (!stream)
		return lose_stream(memory, segment->bytes > 0);
	if (memory->tcp.flags & TCP_RST)
		return lose_stream(memory, false);
	if (memory->tcp.flags & TCP_SYN) {
		if (stream_state(word) == STREAM_OPENING && memory->tcp.flags & TCP_ACK &&
		    bpf_ntohl(memory->tcp.acknowledged) - (__u32)word <= stream_length(word))
			__sync_val_compare_and_swap(&stream->name, word,
						    stream_word(STREAM_OPENED, segment->sequence, 0));
		return 0;
	}
	if (!segment->bytes)
		return segment->ends ? lose_stream(memory, false) : 0;
	if (stream_state(word) == STREAM_OPENING || (stream_state(word) == STREAM_OPENED && behind != 0))
		return lose_stream(memory, true);
	if (behind < segment->bytes)
		return 1;
	/* What comes before it may still come; a repeated one changes nothing. */
	if ((__s32)behind < 0)
		count_name(memory, unread);
	else if (segment->ends)
		lose_stream(memory, false);
	return 0;
}

/*
 * Whether the TCP segment that load_dns() has found may have messages, for next_message(). What the resolver gets in fragments may be any segment, and at any time.
 */
__noinline int follow_segment(hook_context *hook, view_t view)
{
	struct scratch_space *packets = scratch_of_cpu();
	struct dns_scratch *memory = dns_scratch_of_cpu();
	struct context context;
	struct question *stream;
	struct packet *packet;

	if (!packets || !memory || !context_in(&context, hook, view) || !context.endpoint)
		return 0;
	packet = &packets->packet;
	if (is_later_fragment(packet)) {
		if (!fragment_recall(&context, packet) || packet->protocol != IPPROTO_TCP ||
		    packet->destination_port != bpf_htons(DNS_PORT))
			return 0;
		question_of(memory, packet, context.endpoint, true);
	}
	stream = find_stream(memory);
	if (packet->fragment)
		return context.direction == DIRECTION_EGRESS ? lose_stream(memory, false) : 0;
	return context.direction == DIRECTION_EGRESS ? follow_pod(memory, stream) : follow_resolver(memory, stream);
}

/*
 * The next question of the pod's segment, or the first with the SYN that opens the connection. Where one begins is not proved: it is the pod's own word in any case.
 * A segment that does not begin with the length of a message is one whose length was sent before.
 */
static __always_inline int next_question(hook_context *hook, struct dns_scratch *memory)
{
	struct tcp_segment *segment = &memory->segment;
	__u32 left = segment->bytes - segment->read, at = segment->at + segment->read, length;

	if (segment->opens) {
		segment->opens = 0;
		memory->sent.name = stream_word(STREAM_OPENING, segment->sequence, (__u16)segment->bytes);
		if (!keep_question(memory, CONNECTION_SECONDS))
			return 0;
	}
	if (left <= TCP_LENGTH || !hook_load(hook, at, &memory->length, sizeof(memory->length)))
		return 0;
	length = bpf_ntohs(memory->length);
	if (length <= left - TCP_LENGTH) {
		at += TCP_LENGTH;
		segment->read += TCP_LENGTH;
	} else if (segment->read == 0) {
		length = left;
	} else {
		return 0;
	}
	segment->read += length;
	return length && load_message(hook, memory, at, length);
}

/* The next message of the resolver's segment. One that continues in another segment is read to the end of this one, and the next begins behind it. */
static __always_inline int next_answer(hook_context *hook, struct dns_scratch *memory)
{
	struct question *stream = find_stream(memory);
	struct tcp_segment *segment = &memory->segment;
	__u32 begin, left, length;
	__u64 word, next;

	if (!stream)
		return 0;
	word = *(const volatile __u64 *)&stream->name;
	begin = (__u32)word - segment->sequence;
	if (begin >= segment->bytes || stream_state(word) == STREAM_OPENING)
		return 0;
	if (segment->messages++ == SEGMENT_MESSAGES)
		return lose_stream(memory, true);
	if (stream_state(word) == STREAM_LENGTH) {
		length = stream_length(word);
	} else {
		if (segment->bytes - begin < TCP_LENGTH ||
		    !hook_load(hook, segment->at + begin, &memory->length, sizeof(memory->length)))
			return lose_stream(memory, true);
		length = bpf_ntohs(memory->length);
		begin += TCP_LENGTH;
	}
	left = segment->bytes - begin;
	next = left == 0 && length ? stream_word(STREAM_LENGTH, segment->sequence + begin, length)
				   : stream_word(STREAM_READ, segment->sequence + begin + length, 0);
	/* Another CPU may have read the same bytes, sent again. */
	if (__sync_val_compare_and_swap(&stream->name, word, next) != word)
		return 0;
	if (segment->ends && length >= left)
		lose_stream(memory, false);
	if (!length || !left)
		return 0;
	memory->cut = length > left;
	return load_message(hook, memory, segment->at + begin, length < left ? length : left);
}

/* Loads the next message of a segment for which follow_segment() has said that there may be some. 0: there is none. */
__noinline int next_message(hook_context *hook, __u32 direction)
{
	struct dns_scratch *memory = dns_scratch_of_cpu();

	if (!memory)
		return 0;
	memory->cut = 0;
	if (direction == DIRECTION_EGRESS)
		return next_question(hook, memory);
	return next_answer(hook, memory);
}

/* Reads the messages of such a segment. */
__noinline int read_segment(hook_context *hook, __u32 direction)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i <= SEGMENT_MESSAGES && next_message(hook, direction); i++)
		read_dns(direction);
	return 0;
}

/*
 * Whether rules of the pod's policy for egress allow it the resolver to which load_dns() has found a packet. That the packet passes is not enough: it may do so in
 * audit mode, or as an answer in a flow that the other side has opened, who would then choose what the name's addresses are. So could the pod itself.
 */
__noinline int may_ask(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;
	struct packet *packet;

	if (!memory || !context_in(&context, hook, view) || !context.endpoint)
		return 0;
	packet = &memory->packet;
	if (is_v6(packet) ? owns_v6(&context, &packet->destination)
			  : owns_v4(&context, (__be32)packet->destination.low))
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 2; i++) {
		if (!is_resolver(hook, &context, packet))
			return 0;
		if (packet->protocol == IPPROTO_UDP)
			break;
		/* One by TCP must be one by UDP, too: rules that keep others from being resolvers may be about UDP only. */
		packet->protocol = IPPROTO_UDP;
	}
	return 1;
}

/* Whether the packet from a resolver that load_dns() has found may teach names. */
__noinline int may_answer(hook_context *hook, view_t view)
{
	struct scratch_space *memory = scratch_of_cpu();
	struct context context;

	return memory && context_in(&context, hook, view) && context.endpoint &&
	       !is_from_denied_resolver(hook, &context, &memory->packet);
}

/* After the verdict on a packet that passes. An answer that the pod has sent itself teaches it nothing. */
static __always_inline void learn_names(hook_context *hook, const struct context *context)
{
	int kind;

	if (!uses_names(context) || exempt(context) == FLOW_OWN)
		return;
	kind = load_dns(hook, view_of(context));
	if (kind == DNS_SEGMENT && !follow_segment(hook, view_of(context)))
		return;
	if (kind == DNS_NOTHING)
		return;
	if (!(context->direction == DIRECTION_EGRESS ? may_ask(hook, view_of(context))
						     : may_answer(hook, view_of(context))))
		return;
	if (kind == DNS_DATAGRAM)
		read_dns(context->direction);
	else
		read_segment(hook, context->direction);
}

#endif
