// Which backend a packet goes to: the Maglev ring with slot history, or round robin.
//
// Slot history: a clean slot needs no memory of flows at all. When user space gives a slot to another owner it marks the
// slot dirty and keeps the old owner beside the new one. A SYN then goes to the current owner and is remembered; any
// other packet goes where its flow is remembered to be, else to the old owner. dataplanes/xdp/history.py has the rules.
#pragma once
#include "flows.h"
#include "hash.h"
#include "services.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct sequence);
} sequences SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

#define SYN_RETRANSMISSION_TICKS 8 // a SYN of a flow seen so recently is taken for the same SYN again

// A remembered backend may have been removed, or its index given to another service.
inlined bool is_usable(__u32 index, struct service *service)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	return backend && backend->address && backend->service == service->key;
}

inlined __u32 choose_by_history(struct service *service, struct packet *packet, struct place *place, __u32 slot)
{
	__u32 current = SLOT_CURRENT(slot), old = SLOT_OLD(slot);

	if (packet->opens) {
		remember(place, current);
		return current;
	}
	__u32 remembered = FLOW_BACKEND(recall(place));
	if (remembered && is_usable(remembered, service))
		return remembered;
	bool is_new = packet->protocol == IPPROTO_UDP && service->flags & SERVICE_SETTLED;
	__u32 chosen = !is_new && is_usable(old, service) ? old : current;
	if (!packet->is_error)
		remember(place, chosen);
	return chosen;
}

inlined __u32 next_of_sequence(struct service *service)
{
	__u32 index = service->index;
	struct sequence *sequence = bpf_map_lookup_elem(&sequences, &index);

	if (!sequence || !sequence->length)
		return 0;
	__u32 turn = (__u32)__sync_fetch_and_add(&sequence->next, 1) % sequence->length;
	return turn < SEQUENCE_SLOTS ? sequence->backend[turn] : 0;
}

// The ring's choice is for packets from the middle of a connection that this node never saw begin.
inlined __u32 choose_by_turn(struct service *service, struct packet *packet, struct place *place, __u32 slot)
{
	__u64 word = recall(place);
	__u32 remembered = FLOW_BACKEND(word), chosen = SLOT_CURRENT(slot);
	__u16 ticks = place->now - FLOW_SEEN(word);
	bool is_same_flow = !packet->opens || ticks <= SYN_RETRANSMISSION_TICKS;

	if (remembered && is_same_flow && is_usable(remembered, service))
		return remembered;
	if (packet->is_error)
		return chosen;
	if (packet->opens || packet->protocol == IPPROTO_UDP)
		chosen = next_of_sequence(service);
	remember(place, chosen);
	return chosen;
}

// The index of the backend, 0 for none.
inlined __u32 choose(struct service *service, struct packet *packet, __u64 hash)
{
	__u32 index = service->index;
	struct ring *ring = bpf_map_lookup_elem(&rings, &index);
	__u32 number = ring_slot(hash);

	if (!ring || number >= RING_SLOTS)
		return 0;
	__u32 slot = ring->slot[number];
	bool takes_turns = service->flags & SERVICE_ROUND_ROBIN;
	if (!(slot & SLOT_DIRTY) && !takes_turns)
		return SLOT_CURRENT(slot);
	struct place place = place_of(hash, flow_hash(packet->client, packet->ports, service->seed));
	return takes_turns ? choose_by_turn(service, packet, &place, slot)
			   : choose_by_history(service, packet, &place, slot);
}
