// User space's work on rings and on the table of remembered flows, beside running packet programs. The reference for
// both is dataplanes/xdp/history.py, which also explains the rules; a test compares them.
#include <stdint.h>
#include <stdlib.h>
#include "layout.h"

#define NO_RING 0xffff // of a backend whose service does not matter

static uint32_t clean(uint32_t owner)
{
	return owner << 16 | owner;
}

static uint32_t merge(uint32_t slot, uint32_t wanted, const uint8_t *alive)
{
	uint32_t current = SLOT_CURRENT(slot), old = SLOT_OLD(slot);

	if (!(slot & SLOT_DIRTY)) {
		if (current == wanted || !alive[current])
			return clean(wanted);
		return SLOT_DIRTY | current << 16 | wanted;
	}
	return SLOT_DIRTY | (alive[old] ? old : wanted) << 16 | wanted;
}

// Give each of `slots` slots its wanted owner. alive[65536] tells which backends' flows must be kept. Returns how many
// slots are dirty then.
uint32_t bascule_merge(uint32_t *ring, uint32_t slots, const uint16_t *wanted, const uint8_t *alive)
{
	uint32_t dirty = 0;

	for (uint32_t i = 0; i < slots; i++) {
		uint32_t merged = merge(ring[i], wanted[i], alive);

		if (merged != ring[i])
			__atomic_store_n(&ring[i], merged, __ATOMIC_RELAXED);
		dirty += merged >> 31;
	}
	return dirty;
}

uint32_t bascule_count_dirty(const uint32_t *ring, uint32_t slots)
{
	uint32_t dirty = 0;

	for (uint32_t i = 0; i < slots; i++)
		dirty += ring[i] >> 31;
	return dirty;
}

// Forget a word unless a packet program has just written another in its place.
static void forget(uint64_t *word, uint64_t seen)
{
	__atomic_compare_exchange_n(word, &seen, 0, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

// Which dirty slots must stay dirty: a flow seen within `idle` ticks lives elsewhere than at the current owner, or may.
static void find_held(const uint32_t *ring, const uint64_t *flows, uint64_t words, const uint8_t *mine, uint16_t now,
		      uint16_t idle, uint8_t *held)
{
	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = __atomic_load_n(&flows[i], __ATOMIC_RELAXED);
		uint32_t slot = ring[FLOW_SLOT(word)], backend = FLOW_BACKEND(word);

		// 2 ticks ahead: a packet may have stamped a time later than `now` meanwhile, which must not look ancient.
		if (!mine[backend] || (uint16_t)(now + 2 - FLOW_SEEN(word)) > idle)
			continue;
		if (slot & SLOT_DIRTY && (FLOW_IS_GUESS(word) || backend != SLOT_CURRENT(slot)))
			held[FLOW_SLOT(word)] = 1;
	}
}

// Clean the dirty slots of one ring of RING_SLOTS slots that nothing holds, and forget the flows of those slots: a clean
// slot has no remembered flows, or a stale one could capture a new connection at the next change. mine[65536] tells
// which backends are this service's. Returns how many slots are dirty still, or -1 when memory runs out.
int64_t bascule_clean(uint32_t *ring, uint64_t *flows, uint64_t words, const uint8_t *mine, uint16_t now, uint16_t idle)
{
	enum { HELD = 1, CLEANED = 2 };
	uint32_t dirty = 0;
	uint8_t *state = calloc(RING_SLOTS, 1);

	if (!state)
		return -1;
	find_held(ring, flows, words, mine, now, idle, state);
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		if (!(ring[i] & SLOT_DIRTY))
			continue;
		dirty += state[i] == HELD;
		if (state[i] == HELD)
			continue;
		__atomic_store_n(&ring[i], clean(SLOT_CURRENT(ring[i])), __ATOMIC_RELEASE);
		state[i] = CLEANED;
	}
	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = __atomic_load_n(&flows[i], __ATOMIC_RELAXED);

		if (mine[FLOW_BACKEND(word)] && state[FLOW_SLOT(word)] == CLEANED)
			forget(&flows[i], word);
	}
	free(state);
	return dirty;
}

// Which backend may have the flow: a guess names the second hop, and the first one, the slot's old owner, may have it.
static uint32_t holder_of(uint64_t word, const uint32_t *rings, uint64_t stride, const uint16_t *ring_of)
{
	uint32_t ring = ring_of[FLOW_BACKEND(word)];

	if (!FLOW_IS_GUESS(word) || ring == NO_RING)
		return FLOW_BACKEND(word);
	return SLOT_OLD(rings[ring * stride + FLOW_SLOT(word)]);
}

// Count the flows of each backend that is counted[65536] and were seen within `idle` ticks, by adding to counts[65536].
// ring_of[65536] has the ring of each backend, or NO_RING; a ring begins every `stride` words.
void bascule_count_flows(const uint32_t *rings, uint64_t stride, const uint16_t *ring_of, const uint64_t *flows,
			 uint64_t words, const uint8_t *counted, uint16_t now, uint16_t idle, uint32_t *counts)
{
	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = __atomic_load_n(&flows[i], __ATOMIC_RELAXED);

		// 2 ticks ahead: as above.
		if (!word || (uint16_t)(now + 2 - FLOW_SEEN(word)) > idle)
			continue;
		uint32_t backend = holder_of(word, rings, stride, ring_of);
		if (counted[backend])
			counts[backend]++;
	}
}

// Forget every flow of the backends that are gone[65536]. Returns how many there were.
uint64_t bascule_purge(uint64_t *flows, uint64_t words, const uint8_t *gone)
{
	uint64_t purged = 0;

	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = __atomic_load_n(&flows[i], __ATOMIC_RELAXED);

		if (!word || !gone[FLOW_BACKEND(word)])
			continue;
		forget(&flows[i], word);
		purged++;
	}
	return purged;
}
