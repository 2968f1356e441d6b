/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table: where a key may be, finding its entry, changing it, and inserting one. Formats are in layout.h, reasons and
 * bounds in docs/decisions/0028. All CPUs use the table at once, without locks:
 *
 * - A find reads an entry's data, its key words, and its data again.
 * - A refresh is one compare-and-exchange of the data.
 * - An insertion claims its place by a compare-and-exchange to FLOW_CLAIMED, stores the key words, and publishes the data by an atomic exchange.
 *   The two atomic operations are full barriers on every machine.
 */
#ifndef WEIR_FLOW_TABLE_H
#define WEIR_FLOW_TABLE_H

#include "layout.h"
#include "maps.h"

#define WORDS_V4 (sizeof(struct flow_v4_key) / sizeof(__u64))
#define WORDS_V6 (sizeof(struct flow_v6_key) / sizeof(__u64))
#define SET_PLACES (2 * BUCKET_ENTRIES) /* where a flow may be: its first bucket, then its second */

/* The data of an entry that an insertion is about to write: expired, and no other insertion's victim. */
#define FLOW_CLAIMED (1ULL << FLOW_STAMP_AT)

#define FLOW_EXPIRES_MASK ((1ULL << FLOW_EXPIRES_BITS) - 1)
#define FLOW_STAMP_MASK ((1U << FLOW_STAMP_BITS) - 1)
#define FLOW_STATE_MASK ((1U << FLOW_STATE_BITS) - 1)
#define FLOW_NONCE_MASK ((1U << FLOW_NONCE_BITS) - 1)

/* When shares apply: docs/decisions/0028. */
#define SHARE_OF_POD 2
#define SHARE_OF_TENANT 4

#define INSERTION_TRIES 3
#define CACHE_LINE 64

/* test/packet/flow-table.bpf.c builds the table without these too, to see that its checks fail then. */
#ifndef MIXED
#define MIXED 1
#endif
#ifndef CLAIMED
#define CLAIMED 1
#endif

/* A key; after locate(), its words as entries have them except for the entry's own part, and its buckets. */
struct flow_target {
	__u64 word[SECRET_WORDS]; /* IPv4 uses WORDS_V4 of them */
	__u32 first;
	__u32 second;
};

/* An entry, as it was read. No pointers: the verifier would follow the program once for each table and bucket. */
struct flow {
	__u64 seen;
	__u64 place; /* over both buckets; SET_PLACES: absent */
	__u32 first;
	__u32 second;
};

/* The candidates for an insertion's place among the ten. In memory whose content the verifier does not follow: on the stack it would have a state for each order of them. */
struct choice {
	int what;   /* the result: enum taken, and the place */
	__u64 seen; /* the data there */
	__u64 free; /* a free or expired place; the others as score_of() has them */
	__u64 own;
	__u64 own_seen;
	__u64 of_tenant; /* unconfirmed */
	__u64 of_tenant_seen;
	__u64 of_others; /* unconfirmed */
	__u64 of_others_seen;
	__u32 own_count;
	__u32 tenant_count;
	__u64 match;
	__u64 free_seen;
	__u64 match_seen;
};

/* How the second value of the map `scratch` is used. */
struct flow_scratch {
	struct flow_target target;
	struct flow flow; /* what a search has found */
	__u64 data;       /* of a flow to be inserted */
	__u32 family;     /* enum counted_family, of that flow */
	__u32 found;      /* the packet to be judged belongs to `flow` */
	__u32 opens;      /* or opens a flow, if policy allows it */
	__u32 keeps;      /* the flow to be inserted leaves a live entry as it is */
	__u32 expected; /* buckets that the next insertion will need, as the last one did; 0: the last flow was not inserted */
	struct choice choice;
};

static __always_inline struct flow_scratch *flow_scratch_of_cpu(void)
{
	__u32 place = SCRATCH_FLOW;

	_Static_assert(sizeof(struct flow_scratch) <= sizeof(struct scratch), "it fits into scratch");
	return bpf_map_lookup_elem(&scratch, &place);
}

static __always_inline __u64 load(const __u64 *word)
{
	return *(const volatile __u64 *)word;
}

static __always_inline __u32 flow_expires(__u64 data)
{
	return data & FLOW_EXPIRES_MASK;
}

static __always_inline __u32 flow_stamp(__u64 data)
{
	return data >> FLOW_STAMP_AT & FLOW_STAMP_MASK;
}

static __always_inline __u8 flow_state(__u64 data)
{
	return data >> FLOW_STATE_AT & FLOW_STATE_MASK;
}

static __always_inline enum direction flow_opener(__u64 data)
{
	return data >> FLOW_OPENER_AT & 1;
}

/* Opener and nonce: what never changes while the entry is in use. */
static __always_inline __u64 flow_constants(__u64 data)
{
	return data >> FLOW_OPENER_AT;
}

/*
 * The data of an entry that is freed. Its opener and nonce stay: the next insertion gets another nonce, and one of the same flow finds its place
 * again, by the words that are still there.
 */
static __always_inline __u64 freed(__u64 data)
{
	return flow_constants(data) << FLOW_OPENER_AT;
}

/* A flow time that the data has no room for is its last one; years later everything has expired. */
static __always_inline __u64 flow_data(__u32 expires, __u32 stamp, __u8 state, enum direction opener)
{
	return (expires & FLOW_EXPIRES_MASK) | (__u64)(stamp & FLOW_STAMP_MASK) << FLOW_STAMP_AT |
	       (__u64)(state & FLOW_STATE_MASK) << FLOW_STATE_AT | (__u64)(opener & 1) << FLOW_OPENER_AT;
}

/* Flow time at `ticks`. */
static __always_inline __u32 flow_time(const struct node *node, __u64 ticks)
{
	return (ticks - FLOW_EPOCH) >> (node->unit_shift & 31);
}

static __always_inline const struct flow_secret *secret_of_table(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_secret, &zero);
}

static __always_inline __u64 chain(const struct flow_secret *secret, __u64 word)
{
	__u64 product = word * secret->chain;

	return MIXED ? product ^ product >> 32 : 0;
}

/* The hash of a key: NH over the 32-bit halves of its words, then a multiplication, since NH's bits alone are linear in each word. */
static __always_inline __u64 hash_of(const struct flow_secret *secret, const __u64 *words, __u32 count)
{
	__u64 sum = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++) {
		__u32 low = (__u32)words[i] + (__u32)secret->hash[i];
		__u32 high = (__u32)(words[i] >> 32) + (__u32)(secret->hash[i] >> 32);

		sum += (__u64)low * high;
	}
	sum *= secret->finish;
	return sum ^ sum >> 32;
}

/* Replaces a key's words by those of its entry, and finds its buckets: equally likely ones, for any number of buckets. */
static __always_inline void locate(const struct flow_secret *secret, struct flow_target *target,
				   enum counted_family family)
{
	__u32 count = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4, buckets = secret->buckets[family];
	__u64 hash = hash_of(secret, target->word, count), carry = 0;

	target->first = (hash >> 32) * buckets >> 32;
	target->second = (hash & 0xffffffff) * buckets >> 32;
	if (target->second == target->first)
		target->second = target->first ? target->first - 1 : 1;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++) {
		target->word[i] ^= carry;
		carry = chain(secret, target->word[i]);
	}
}

/* Keys word by word, as struct flow_v4_key and flow_v6_key: a struct would be built on the stack first. */
static __always_inline void key_of_v4(struct flow_target *target, __u64 owner, __be32 local, __be32 remote)
{
	target->word[0] = owner;
	target->word[1] = local | (__u64)remote << 32;
}

static __always_inline void key_of_v6(struct flow_target *target, __u64 owner, const struct address_v6 *local,
				      const struct address_v6 *remote)
{
	target->word[0] = owner;
	target->word[1] = local->high;
	target->word[2] = local->low;
	target->word[3] = remote->high;
	target->word[4] = remote->low;
}

static __always_inline __u64 *bucket_v4(__u32 index)
{
	return bpf_map_lookup_elem(&conntrack_v4, &index);
}

static __always_inline __u64 *bucket_v6(__u32 index)
{
	return bpf_map_lookup_elem(&conntrack_v6, &index);
}

static __always_inline __u64 *bucket_of(enum counted_family family, __u32 index)
{
	return family == COUNTED_IPV6 ? bucket_v6(index) : bucket_v4(index);
}

/* Loads the bucket's cache lines at once, before they are needed one after the other. */
static __always_inline void touch(const __u64 *bucket, __u32 count)
{
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < BUCKET_ENTRIES * (1 + count); i += CACHE_LINE / sizeof(__u64))
		asm volatile("" : : "r"(load(bucket + i)));
}

/*
 * Has the CPU fetch a bucket's lines for writing while it goes on: by a store that changes nothing, since this byte of second_until is always 0. A load
 * would keep the CPU from going on. The other line of a pair comes with the one.
 */
static __always_inline void fetch(__u64 *bucket, __u32 count)
{
	if (!bucket)
		return;
	*((volatile __u8 *)bucket + 3) = 0;
	if (count == WORDS_V6)
		*(volatile __u8 *)&((struct flow_bucket_v6 *)bucket)->reserved = 0;
}

static __always_inline __u32 *second_until(__u64 *bucket)
{
	return (__u32 *)bucket;
}

static __always_inline __u64 *entry_at(__u64 *bucket, __u64 place, __u32 count)
{
	return bucket + 1 + place * (1 + count);
}

/* What an entry with this data adds to each of its words. */
static __always_inline __u64 part_of(const struct flow_secret *secret, __u64 data)
{
	return MIXED ? flow_constants(data) * secret->entry : 0;
}

/* Whether the entry's words are these, mixed with this data. */
static __always_inline bool has_words(const __u64 *entry, const __u64 *words, __u32 count, __u64 part)
{
	__u64 difference = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++)
		difference |= load(entry + 1 + i) ^ words[i] ^ part;
	return difference == 0;
}

/* All ones if the words differ, else 0. */
static __always_inline __u64 differ(__u64 a, __u64 b)
{
	__u64 difference = a ^ b;

	return (__s64)(difference | -difference) >> 63;
}

/*
 * All ones if an entry with this data is free or has expired, and no insertion has claimed it; else 0. Without a branch: which places are free is
 * nothing that a CPU could predict. The barrier keeps the compiler from finding that this is a comparison, for which it would branch.
 */
static __always_inline __u64 available(__u64 data, __u32 now)
{
	__s64 left = (__s64)(data & FLOW_EXPIRES_MASK) - now - 1;

	asm("" : "+r"(left));
	return (left >> 63) & differ(data, FLOW_CLAIMED);
}

/*
 * What tells the words of two keys apart without an entry's own part, which is in all of its words: of two, the first and the last, which depends on
 * all others. Two of one pod with IPv4 always differ. Two with IPv6 whose remote addresses differ in just the highest bits of three words do not, whatever
 * the secret; then neither is found if they also share a bucket. Nothing is opened by that: an insertion compares all words.
 */
static __always_inline __u64 pair_of(const __u64 *words, __u32 count)
{
	return words[0] ^ words[count - 1];
}

static __always_inline __u64 stored_pair(const __u64 *entry, __u32 count)
{
	return load(entry + 1) ^ load(entry + count);
}

/*
 * The place of the entry that may have these words, at least BUCKET_ENTRIES if there is none. If more than one seem to have them, which two CPUs can bring about for a moment, there is none.
 */
static __always_inline __u64 place_in(__u64 *bucket, const __u64 *words, __u32 count)
{
	__u64 sum = 0, pair = pair_of(words, count);

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < BUCKET_ENTRIES; i++) {
		const __u64 *entry = entry_at(bucket, i, count);

		sum += differ(stored_pair(entry, count), pair) & (16 + i);
	}
	/* 16 for each, and the sum of the places: less what the one that does not differ would add. */
	return 4 * 16 + 10 - sum;
}

/*
 * The entry with these words in a bucket, and its data. One that is written at the same time is read once more and then counts as absent: its words are
 * those of the data before them and of the data after them.
 */
static __always_inline __u64 find_in(const struct flow_secret *secret, __u64 *bucket, const __u64 *words, __u32 count,
				     __u64 *seen)
{
	__u64 place = place_in(bucket, words, count), *entry;

	/* 64 bits wide, and bounded just before its use: the verifier of Linux 6.1 loses the bound otherwise. */
	asm volatile("" : "+r"(place));
	if (place >= BUCKET_ENTRIES)
		return SET_PLACES;
	entry = entry_at(bucket, place, count);
#pragma clang loop unroll(full)
	for (__u32 tries = 0; tries < 2; tries++) {
		*seen = load(entry);
		if (has_words(entry, words, count, part_of(secret, *seen)) && load(entry) == *seen)
			return place;
	}
	return SET_PLACES;
}

static __always_inline bool uses_second(const __u64 *bucket, __u32 now)
{
	return *(const volatile __u32 *)bucket >= now >> SECOND_SHIFT;
}

/* The flow of a key, if it has not expired. */
static __always_inline bool find_flow(struct flow *flow, struct flow_target *target, enum counted_family family,
				      __u32 now)
{
	__u32 count = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;
	const struct flow_secret *secret = secret_of_table();
	__u64 *bucket;

	*flow = (struct flow){ .place = SET_PLACES };
	if (!secret)
		return false;
	locate(secret, target, family);
	flow->first = target->first;
	flow->second = target->second;
	bucket = bucket_of(family, flow->first);
	if (!bucket)
		return false;
	flow->place = find_in(secret, bucket, target->word, count, &flow->seen);
	if (flow->place == SET_PLACES && uses_second(bucket, now)) {
		bucket = bucket_of(family, flow->second);
		if (!bucket)
			return false;
		flow->place = BUCKET_ENTRIES + find_in(secret, bucket, target->word, count, &flow->seen);
	}
	return flow->place < SET_PLACES && flow_expires(flow->seen) > now;
}

static __always_inline int search(enum counted_family family, __u32 now)
{
	struct flow_scratch *memory = flow_scratch_of_cpu();

	return memory && find_flow(&memory->flow, &memory->target, family, now);
}

/* Global functions, for packets that are not plain: whether the table has the flow of the key in the scratch. It is in the scratch then. */
__noinline int search_v4(__u32 now)
{
	return search(COUNTED_IPV4, now);
}

__noinline int search_v6(__u32 now)
{
	return search(COUNTED_IPV6, now);
}

/* Keeps the second bucket in use until `expires`: before an entry in it gets that. */
static __always_inline void extend_second(__u32 *until, __u32 expires)
{
	__u32 last = expires >> SECOND_SHIFT;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 2; i++) {
		__u32 before = *(volatile __u32 *)until;

		if (before >= last || __sync_val_compare_and_swap(until, before, last) == before)
			return;
	}
}

/* Replaces the data at a place over both buckets if it is `seen`. What it was. */
static __always_inline __u64 exchange(__u64 *first, __u64 *second, __u64 place, __u32 count, __u64 seen, __u64 data)
{
	__u64 *bucket = first;

	if (!first || !second)
		return FLOW_CLAIMED;
	if (place >= BUCKET_ENTRIES) {
		extend_second(second_until(first), flow_expires(data));
		bucket = second;
		place -= BUCKET_ENTRIES;
	}
	asm volatile("" : "+r"(place));
	if (place >= BUCKET_ENTRIES)
		return FLOW_CLAIMED;
	return __sync_val_compare_and_swap(entry_at(bucket, place, count), seen, data);
}

/* Global functions: few packets change their flow's entry, and the verifier checks each once. */
__noinline __u64 exchange_v4(__u64 buckets, __u64 place, __u64 seen, __u64 data)
{
	return exchange(bucket_v4(buckets), bucket_v4(buckets >> 32), place, WORDS_V4, seen, data);
}

__noinline __u64 exchange_v6(__u64 buckets, __u64 place, __u64 seen, __u64 data)
{
	return exchange(bucket_v6(buckets), bucket_v6(buckets >> 32), place, WORDS_V6, seen, data);
}

/* Replaces the flow's data; false if another CPU has changed it meanwhile: then `seen` is what it is now. */
static __always_inline bool change_flow(struct flow *flow, enum counted_family family, __u64 data)
{
	__u64 buckets = flow->first | (__u64)flow->second << 32, before;

	if (data == flow->seen)
		return true;
	before = family == COUNTED_IPV6 ? exchange_v6(buckets, flow->place, flow->seen, data)
					: exchange_v4(buckets, flow->place, flow->seen, data);
	/* Or the entry is free, or another flow has its place, and nothing is left to change. */
	if (before == flow->seen || flow_constants(before) != flow_constants(flow->seen) || !flow_expires(before)) {
		flow->seen = data;
		return true;
	}
	flow->seen = before;
	return false;
}

/* Frees one of several entries with the same words, unless it has changed. Without its words: place_in() would go on counting it. */
static __always_inline void free_entry(__u64 *entry, __u64 data)
{
	if (__sync_val_compare_and_swap(entry, data, FLOW_CLAIMED) != data)
		return;
	*(volatile __u64 *)(entry + 1) = ~load(entry + 1);
	__sync_lock_test_and_set(entry, freed(data));
}

#define NO_PLACE (~0ULL)

/* How flows compare as victims: the one that expires first, and among those that expire in the same unit in turn. */
static __always_inline __u64 score_of(__u64 data, __u32 place, __u32 turn)
{
	return (__u64)flow_expires(data) << 8 | ((place + turn) & 15) << 4 | place;
}

/* One place, by the bucket that has it. Frees further entries of the same flow. */
static __always_inline void consider(struct choice *choice, const struct flow_secret *secret, const __u64 *words,
				     __u32 count, __u64 *bucket, __u64 i, __u64 place, __u32 now, __u32 tenant)
{
	__u64 *entry = entry_at(bucket, i, count);
	__u64 data = load(entry), part = part_of(secret, data);
	__u64 score = score_of(data, place, words[1]);
	bool confirmed = flow_state(data) & FLOW_CONFIRMED;
	__u32 tenants = *(volatile __u64 *)bucket >> 32;

	if (data == FLOW_CLAIMED)
		return;
	if (has_words(entry, words, count, part)) {
		if (choice->match == NO_PLACE) {
			choice->match = place;
			choice->match_seen = data;
		} else {
			free_entry(entry, data);
		}
		return;
	}
	if (flow_expires(data) <= now) {
		if (choice->free == NO_PLACE) {
			choice->free = place;
			choice->free_seen = data;
		}
		return;
	}
	if ((__u32)(load(entry + 1) ^ part) >> 8 == (__u32)words[0] >> 8) {
		choice->own_count++;
		choice->tenant_count++;
		if (score < choice->own) {
			choice->own = score;
			choice->own_seen = data;
		}
		return;
	}
	if ((tenants >> i * TENANT_BITS & (TENANTS - 1)) == tenant) {
		choice->tenant_count++;
		if (!confirmed && score < choice->of_tenant) {
			choice->of_tenant = score;
			choice->of_tenant_seen = data;
		}
	} else if (!confirmed && score < choice->of_others) {
		choice->of_others = score;
		choice->of_others_seen = data;
	}
}

/* What an insertion's place has been, above the number of the place. */
enum taken {
	TAKEN_FREE,
	TAKEN_MATCH, /* a live or expired entry of this flow */
	TAKEN_OWN,
	TAKEN_OTHERS,
	TAKEN_NONE,
};

#define TAKEN_AT 4
#define PLACE_MASK ((1 << TAKEN_AT) - 1)

static __always_inline int taken(enum taken what, __u64 place)
{
	return what << TAKEN_AT | (place & PLACE_MASK);
}

static __always_inline int choose_by_share(struct choice *choice)
{
	bool own_unconfirmed = choice->own != NO_PLACE && !(flow_state(choice->own_seen) & FLOW_CONFIRMED);
	__u64 others = choice->of_others, others_seen = choice->of_others_seen;

	/* A tenant with its share takes nothing from other tenants. */
	if (choice->tenant_count >= SHARE_OF_TENANT || choice->of_tenant < others) {
		others = choice->of_tenant;
		others_seen = choice->of_tenant_seen;
	}
	if (choice->own_count >= SHARE_OF_POD || (own_unconfirmed && others == NO_PLACE)) {
		choice->seen = choice->own_seen;
		return taken(TAKEN_OWN, choice->own);
	}
	choice->seen = others_seen;
	return others == NO_PLACE ? taken(TAKEN_NONE, 0) : taken(TAKEN_OTHERS, others);
}

/*
 * Which place an insertion takes: the flow's own; a free or expired one; else the pod's own flow that expires first, if it has its share of the ten places; else
 * an unconfirmed one of others; else none, so that no pod ever takes a confirmed flow of another. `seen` becomes the data of what is there.
 */
static __always_inline int choose(struct choice *choice, const struct flow_secret *secret, const __u64 *words,
				  __u32 count, __u64 *first, __u64 *second, __u32 now, __u32 tenant)
{
	*choice = (struct choice){
		.free = NO_PLACE,
		.own = NO_PLACE,
		.of_tenant = NO_PLACE,
		.of_others = NO_PLACE,
		.match = NO_PLACE,
	};
	/* Not unrolled: that would take more of the stack than there is. */
#pragma clang loop unroll(disable)
	for (__u64 place = 0; place < SET_PLACES; place++) {
		bool in_first = place < BUCKET_ENTRIES;

		/* What is in the second bucket matters if the flow may be there, or must go there. */
		if (place == BUCKET_ENTRIES && !uses_second(first, now) &&
		    (choice->match != NO_PLACE || choice->free != NO_PLACE))
			break;
		consider(choice, secret, words, count, in_first ? first : second,
			 in_first ? place : place - BUCKET_ENTRIES, place, now, tenant);
	}
	if (choice->match != NO_PLACE) {
		choice->seen = choice->match_seen;
		return taken(TAKEN_MATCH, choice->match);
	}
	if (choice->free != NO_PLACE) {
		choice->seen = choice->free_seen;
		return taken(TAKEN_FREE, choice->free);
	}
	return choose_by_share(choice);
}

static __always_inline void count_insertion(enum counted_family family, int what)
{
	__u32 index = family;
	struct flow_statistics *counts = bpf_map_lookup_elem(&flow_statistics, &index);

	if (!counts)
		return;
	if (what == TAKEN_NONE)
		counts->refused++;
	else
		counts->inserted++;
	if (what == TAKEN_OWN)
		counts->evicted_own++;
	if (what == TAKEN_OTHERS)
		counts->evicted_others++;
}

static __always_inline void count_contention(enum counted_family family)
{
	__u32 index = family;
	struct flow_statistics *counts = bpf_map_lookup_elem(&flow_statistics, &index);

	if (counts)
		counts->contended++;
}

/* Records whose the place is. Two CPUs may lose one of two records: then a place counts for another tenant until it is taken again. */
static __always_inline void name_tenant(__u64 *bucket, __u32 place, __u32 tenant)
{
	volatile __u32 *tenants = (volatile __u32 *)bucket + 1;
	__u32 before = *tenants;
	__u32 after = (before & ~((TENANTS - 1) << place * TENANT_BITS)) | tenant << place * TENANT_BITS;

	if (after != before)
		*tenants = after;
}

/*
 * Writes the entry at `place` of the bucket, which is `seen` and must not have changed; false if it has. A find on another CPU never gets the
 * new words with the data before, nor the other way round: the nonces differ.
 */
static __always_inline bool write_entry(const struct flow_secret *secret, __u64 *bucket, __u64 place,
					const __u64 *words, __u32 count, __u64 seen, __u64 data, bool same)
{
	__u64 *entry;
	__u64 part;

	asm volatile("" : "+r"(place));
	if (place >= BUCKET_ENTRIES)
		return false;
	entry = entry_at(bucket, place, count);
	/* The entry of this flow and opener has the words already; other CPUs find it all the while. */
	if (same)
		return __sync_val_compare_and_swap(entry, seen, data | seen >> FLOW_NONCE_AT << FLOW_NONCE_AT) == seen;
	if (CLAIMED && __sync_val_compare_and_swap(entry, seen, FLOW_CLAIMED) != seen)
		return false;
	data |= ((seen >> FLOW_NONCE_AT) + 1) << FLOW_NONCE_AT;
	part = part_of(secret, data);
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++)
		*(volatile __u64 *)(entry + 1 + i) = words[i] ^ part;
	__sync_lock_test_and_set(entry, data);
	return true;
}

/* How many entries of a bucket may have these words. */
static __always_inline __u64 count_similar(__u64 *bucket, const __u64 *words, __u32 count)
{
	__u64 similar = BUCKET_ENTRIES, pair = pair_of(words, count);

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < BUCKET_ENTRIES; i++) {
		const __u64 *entry = entry_at(bucket, i, count);

		similar += differ(stored_pair(entry, count), pair);
	}
	return similar;
}

/* Frees all entries with these words but the first: two CPUs have inserted one flow at once. */
static __always_inline bool keep_one(const struct flow_secret *secret, __u64 *bucket, const __u64 *words, __u32 count,
				     bool found)
{
	__u64 pair = pair_of(words, count);

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < BUCKET_ENTRIES; i++) {
		__u64 *entry = entry_at(bucket, i, count);
		__u64 data;

		if (stored_pair(entry, count) != pair)
			continue;
		data = load(entry);
		if (!has_words(entry, words, count, part_of(secret, data)))
			continue;
		if (found)
			free_entry(entry, data);
		found = true;
	}
	return found;
}

/* The same over both buckets, after the flow has been written into one of them: of two CPUs that insert one flow, at least one sees both entries. */
static __always_inline void keep_one_of_both(const struct flow_secret *secret, __u64 *first, __u64 *second,
					     const __u64 *words, __u32 count, bool in_first, __u32 now)
{
	bool found = in_first && count_similar(first, words, count) == 1;

	if (!found)
		found = keep_one(secret, first, words, count, false);
	if (uses_second(first, now))
		keep_one(secret, second, words, count, found);
}

/* Writes the chosen place, which counts over both buckets. False if it has changed meanwhile. */
static __always_inline bool take_place(const struct choice *choice, const struct flow_secret *secret, __u64 *first,
				       __u64 *second, const __u64 *words, __u32 count, __u64 data, __u32 tenant,
				       __u32 now)
{
	__u64 seen = choice->seen, place = choice->what & PLACE_MASK, *bucket = first;
	bool same = choice->what >> TAKEN_AT == TAKEN_MATCH && flow_opener(seen) == flow_opener(data);

	if (place >= BUCKET_ENTRIES) {
		extend_second(second_until(first), flow_expires(data));
		place -= BUCKET_ENTRIES;
		bucket = second;
	}
	if (!write_entry(secret, bucket, place, words, count, seen, data, same))
		return false;
	name_tenant(bucket, place, tenant);
	keep_one_of_both(secret, first, second, words, count, bucket == first, now);
	return true;
}

#define FLOW_ONLY_NEW TENANTS /* beside the tenant: leaves a live entry of the flow as it is */

/* Chooses a place for the flow of the key in the scratch; it is in the scratch then. An enum taken. */
static __always_inline int choose_place(enum counted_family family, __u32 now, __u32 tenant)
{
	__u32 count = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;
	const struct flow_secret *secret = secret_of_table();
	struct flow_scratch *memory = flow_scratch_of_cpu();
	__u64 *first, *second;

	if (!secret || !memory)
		return TAKEN_NONE;
	first = bucket_of(family, memory->target.first);
	second = bucket_of(family, memory->target.second);
	if (!first || !second)
		return TAKEN_NONE;
	touch(first, count);
	touch(second, count);
	memory->choice.what = choose(&memory->choice, secret, memory->target.word, count, first, second, now, tenant);
	return memory->choice.what >> TAKEN_AT;
}

/* Writes the flow to the chosen place. 0 if another CPU has changed that meanwhile. */
static __always_inline int take(enum counted_family family, __u64 data, __u32 now, __u32 tenant)
{
	__u32 count = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;
	const struct flow_secret *secret = secret_of_table();
	struct flow_scratch *memory = flow_scratch_of_cpu();
	__u64 *first, *second;

	if (!secret || !memory)
		return 0;
	first = bucket_of(family, memory->target.first);
	second = bucket_of(family, memory->target.second);
	return first && second &&
	       take_place(&memory->choice, secret, first, second, memory->target.word, count, data, tenant, now);
}

/* Global functions, and two, so that the verifier checks each once and neither takes much of the stack. */
__noinline int choose_v4(__u32 now, __u32 tenant)
{
	return choose_place(COUNTED_IPV4, now, tenant);
}

__noinline int choose_v6(__u32 now, __u32 tenant)
{
	return choose_place(COUNTED_IPV6, now, tenant);
}

__noinline int take_v4(__u64 data, __u32 now, __u32 tenant)
{
	return take(COUNTED_IPV4, data, now, tenant);
}

__noinline int take_v6(__u64 data, __u32 now, __u32 tenant)
{
	return take(COUNTED_IPV6, data, now, tenant);
}

/*
 * Finds the buckets of the key in the scratch, and inserts its flow if that is simple, as it is for most flows of a table that is not full: nothing
 * in the first bucket is similar, it has a place for it, and the second one is not in use.
 */
static __always_inline int insert_simply(enum counted_family family, __u64 data, __u32 now, __u32 tenant)
{
	__u32 count = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;
	const struct flow_secret *secret = secret_of_table();
	struct flow_scratch *memory = flow_scratch_of_cpu();
	__u64 *first, *second, seen, taken = ~0ULL, place = 0;
	const __u64 *words;

	if (!secret || !memory)
		return 0;
	words = memory->target.word;
	locate(secret, &memory->target, family);
	first = bucket_of(family, memory->target.first);
	second = bucket_of(family, memory->target.second);
	if (!first || !second || uses_second(first, now) || count_similar(first, words, count) != 0)
		return 0;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < BUCKET_ENTRIES; i++) {
		taken &= ~available(load(entry_at(first, i, count)), now);
		place -= taken;
	}
	asm volatile("" : "+r"(place));
	if (place >= BUCKET_ENTRIES)
		return 0;
	seen = load(entry_at(first, place, count));
	if (!available(seen, now) || !write_entry(secret, first, place, words, count, seen, data, false))
		return 0;
	name_tenant(first, place, tenant & (TENANTS - 1));
	keep_one_of_both(secret, first, second, words, count, true, now);
	return 1;
}

__noinline int insert_simply_v4(__u64 data, __u32 now, __u32 tenant)
{
	return insert_simply(COUNTED_IPV4, data, now, tenant);
}

__noinline int insert_simply_v6(__u64 data, __u32 now, __u32 tenant)
{
	return insert_simply(COUNTED_IPV6, data, now, tenant);
}

/*
 * Fetches the buckets in which the flow of the key in the scratch will be inserted, if policy allows that, as it did the last time on this CPU. Not for
 * each packet: to fetch a bucket for nothing takes longer than to deny a packet, and these come in floods.
 */
static __always_inline int fetch_buckets(enum counted_family family)
{
	__u32 count = family == COUNTED_IPV6 ? WORDS_V6 : WORDS_V4;
	const struct flow_secret *secret = secret_of_table();
	struct flow_scratch *memory = flow_scratch_of_cpu();

	if (!secret || !memory)
		return 0;
	locate(secret, &memory->target, family);
	fetch(bucket_of(family, memory->target.first), count);
	if (memory->expected > 1)
		fetch(bucket_of(family, memory->target.second), count);
	memory->expected = 0;
	return 0;
}

__noinline int fetch_buckets_v4(void)
{
	return fetch_buckets(COUNTED_IPV4);
}

__noinline int fetch_buckets_v6(void)
{
	return fetch_buckets(COUNTED_IPV6);
}

/* Inserts the flow of the key in the scratch, or replaces the entry that it has; `data` is without a nonce. */
static __always_inline enum flow_result insert(enum counted_family family, __u64 data, __u32 now, __u32 tenant)
{
	__u32 own = tenant & (TENANTS - 1);
	bool v6 = family == COUNTED_IPV6;
	struct flow_scratch *memory = flow_scratch_of_cpu();
	int what = TAKEN_NONE;

	if (!memory)
		return FLOW_REFUSED;
	if (v6 ? insert_simply_v6(data, now, own) : insert_simply_v4(data, now, own)) {
		memory->expected = 1;
		count_insertion(family, TAKEN_FREE);
		return FLOW_DONE;
	}
	memory->expected = 2;
#pragma clang loop unroll(disable)
	for (__u32 tries = 0; tries < INSERTION_TRIES; tries++) {
		what = v6 ? choose_v6(now, own) : choose_v4(now, own);
		if (what == TAKEN_NONE)
			break;
		if (what == TAKEN_MATCH && tenant & FLOW_ONLY_NEW && flow_expires(memory->choice.seen) > now)
			return FLOW_EXISTS;
		if (v6 ? take_v6(data, now, own) : take_v4(data, now, own)) {
			count_insertion(family, what);
			return FLOW_DONE;
		}
		count_contention(family);
	}
	count_insertion(family, TAKEN_NONE);
	return FLOW_REFUSED;
}

#endif
