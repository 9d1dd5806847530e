// Which backend a packet goes to: the Maglev ring with slot history, or round robin.
//
// Slot history: a clean slot needs no memory of flows at all. When user space gives a slot to another owner it marks the
// slot dirty and keeps the old owner beside the new one. A SYN then goes to the current owner and is remembered; any
// other packet goes where its flow is remembered to be. A flow that nobody remembers may be at either owner: another LB
// node may have seen it begin. Its packets get two headers, and the old owner's hypervisor finds out
// (docs/decisions/0020-second-chance.md). dataplanes/xdp/history.py has the rules.
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

// What of a packet and its service matters to the choice.
#define CASE_OPENS 1        // a SYN: the flow is new
#define CASE_ERROR 2        // an ICMP error: says nothing about where its flow should be
#define CASE_MAY_BE_NEW 4   // not remembered means new: UDP, whose ring changed long ago
#define CASE_TAKES_TURNS 8  // round robin
#define CASE_DATAGRAM 16    // UDP

// What was chosen: a backend, and where its hypervisor sends the packet if it does not know the flow; 0 for nowhere.
#define CHOICE(first, second) ((second) << 16 | (first))
#define CHOICE_FIRST(choice) ((choice) & 0xffff)
#define CHOICE_SECOND(choice) ((choice) >> 16)

struct choice {
	struct place place;
	service_key service;
	__u32 index;
	__u32 slot;
	__u32 packet_case;
};

// A remembered backend may have been removed, or its index given to another service.
inlined bool is_usable(__u32 index, service_key service)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	return backend && backend->family && backend->service == service;
}

// What to remember of a flow of a dirty slot that is not remembered.
inlined __u32 presume(struct choice *choice)
{
	__u32 current = SLOT_CURRENT(choice->slot), old = SLOT_OLD(choice->slot);

	if (choice->packet_case & CASE_MAY_BE_NEW || old == current || !is_usable(old, choice->service))
		return current;
	return settings.second_chance && is_usable(current, choice->service) ? FLOW_GUESS | current : old;
}

inlined __u32 choose_by_history(struct choice *choice)
{
	__u32 current = SLOT_CURRENT(choice->slot), old = SLOT_OLD(choice->slot);

	if (choice->packet_case & CASE_OPENS) {
		remember(&choice->place, current);
		return current;
	}
	__u32 word = recall(&choice->place);
	bool is_disowned = FLOW_IS_GUESS(word) && !settings.second_chance;
	if (!word || is_disowned || !is_usable(FLOW_BACKEND(word), choice->service)) {
		word = presume(choice);
		if (!(choice->packet_case & CASE_ERROR))
			remember(&choice->place, word);
	}
	__u32 backend = FLOW_BACKEND(word);
	if (FLOW_IS_GUESS(word) && old != backend && is_usable(old, choice->service))
		return CHOICE(old, backend);
	return backend;
}

inlined __u32 next_of_sequence(__u32 index)
{
	struct sequence *sequence = bpf_map_lookup_elem(&sequences, &index);

	if (!sequence || !sequence->length)
		return 0;
	__u32 turn = (__u32)__sync_fetch_and_add(&sequence->next, 1) % sequence->length;
	return turn < SEQUENCE_SLOTS ? sequence->backend[turn] : 0;
}

// The ring's choice is for packets from the middle of a connection that this node never saw begin.
inlined __u32 choose_by_turn(struct choice *choice)
{
	__u64 word = recall(&choice->place);
	__u32 remembered = FLOW_BACKEND(word), chosen = SLOT_CURRENT(choice->slot);
	__u16 ticks = choice->place.now - FLOW_SEEN(word);
	bool is_same_flow = !(choice->packet_case & CASE_OPENS) || ticks <= SYN_RETRANSMISSION_TICKS;

	if (remembered && is_same_flow && is_usable(remembered, choice->service))
		return remembered;
	if (choice->packet_case & CASE_ERROR)
		return chosen;
	if (choice->packet_case & (CASE_OPENS | CASE_DATAGRAM))
		chosen = next_of_sequence(choice->index);
	remember(&choice->place, chosen);
	return chosen;
}

// The choice for a flow that must be looked up. A global function, so that the verifier checks it once.
__noinline __u32 choose_with_memory(__u64 ring_hash, __u64 full_hash, service_key service, __u32 index, __u64 situation)
{
	struct choice choice = {
		.place = place_of(ring_hash, full_hash),
		.service = service,
		.index = index,
		.slot = situation >> 32,
		.packet_case = (__u32)situation,
	};

	return choice.packet_case & CASE_TAKES_TURNS ? choose_by_turn(&choice) : choose_by_history(&choice);
}

inlined __u32 case_of(struct service *service, struct packet *packet)
{
	__u32 packet_case = packet->opens ? CASE_OPENS : 0;

	if (packet->is_error)
		packet_case |= CASE_ERROR;
	if (packet->protocol == IPPROTO_UDP)
		packet_case |= service->flags & SERVICE_SETTLED ? CASE_DATAGRAM | CASE_MAY_BE_NEW : CASE_DATAGRAM;
	if (service->flags & SERVICE_ROUND_ROBIN)
		packet_case |= CASE_TAKES_TURNS;
	return packet_case;
}

// The choice, 0 for none.
inlined __u32 choose(struct service *service, struct packet *packet, __u64 hash)
{
	__u32 index = service->index;
	struct ring *ring = bpf_map_lookup_elem(&rings, &index);
	__u32 number = ring_slot(hash);

	if (!ring || number >= RING_SLOTS)
		return 0;
	__u32 slot = ring->slot[number];
	if (!(slot & SLOT_DIRTY) && !(service->flags & SERVICE_ROUND_ROBIN))
		return SLOT_CURRENT(slot);
	__u64 full_hash = flow_hash(packet->client, packet->ports, service->seed);
	__u64 situation = (__u64)slot << 32 | case_of(service, packet);
	return choose_with_memory(hash, full_hash, service->key, index, situation);
}
