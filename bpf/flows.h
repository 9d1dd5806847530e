// The table of remembered flows: 8-way buckets of 8-byte words, shared by all CPUs. A word is written whole, so there
// are no locks: two CPUs that write at once lose one of two valid words, and the flow is remembered by its next packet.
#pragma once
#include "layout.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bucket);
} flows SEC(".maps");

const volatile struct settings settings = {};

// Where one flow would be in the table.
struct place {
	struct bucket *bucket;
	__u32 tag;
	__u16 now;
};

// The tag begins with the slot of the *ring* hash, so that user space can tell which slot a word belongs to.
inlined struct place place_of(__u64 ring_hash, __u64 full_hash)
{
	struct place place = {};
	__u32 index = (__u32)full_hash & (settings.flow_buckets - 1);

	place.bucket = bpf_map_lookup_elem(&flows, &index);
	place.tag = (__u32)(ring_hash >> 32 & 0xffff0000) | (__u16)(full_hash >> 32);
	place.now = bpf_ktime_get_coarse_ns() >> FLOW_TICK_LOG2_NS;
	return place;
}

// The flow's word, 0 when it is not remembered. Seeing it refreshes its time, at most once a tick: a write costs more.
inlined __u64 recall(struct place *place)
{
	if (!place->bucket)
		return 0;
	for (int i = 0; i < BUCKET_FLOWS; i++) {
		__u64 word = place->bucket->flow[i];

		if (word && FLOW_TAG(word) == place->tag) {
			if (FLOW_SEEN(word) != place->now)
				place->bucket->flow[i] = (__u64)place->tag << 32 | (__u32)place->now << 16 | (__u16)word;
			return word;
		}
	}
	return 0;
}

// Write the flow over its own word, else a free one, else the one not seen for longest.
// `backend` may have the mark of a guess.
inlined void remember(struct place *place, __u32 backend)
{
	__u32 victim = 0, oldest = 0;

	if (!place->bucket || !FLOW_BACKEND(backend))
		return;
	for (__u32 i = 0; i < BUCKET_FLOWS; i++) {
		__u64 word = place->bucket->flow[i];
		__u32 age = (__u16)(place->now - FLOW_SEEN(word));

		if (!word)
			age = 0x10000;
		else if (FLOW_TAG(word) == place->tag)
			age = 0x20000;
		if (age >= oldest) {
			oldest = age;
			victim = i;
		}
	}
	place->bucket->flow[victim & (BUCKET_FLOWS - 1)] = (__u64)place->tag << 32 | (__u32)place->now << 16 | (__u16)backend;
}
