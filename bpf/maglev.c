// Maglev's table (Eisenbud and others, NSDI 2016, section 3.4), with weights. The reference in Python is
// dataplanes/xdp/maglev.py; a test compares them. It is C because the loop is sequential: Python needs 25 to 40 ms for a
// table, and a node may have hundreds to make.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FREE 0xffff

// Fill owner[slots] with labels. Backends take turns; at its turn backend i takes its next weight[i] free slots, walking
// offset[i], offset[i] + skip[i], ... modulo `slots` (a prime). Needs at least one weight above 0.
// Returns -1 when memory runs out, else 0.
int bascule_maglev(uint32_t slots, uint32_t backends, const uint32_t *offset, const uint32_t *skip,
		   const uint32_t *weight, const uint16_t *label, uint16_t *owner)
{
	uint32_t filled = 0;
	uint32_t *next = malloc(backends * sizeof(*next));

	if (!next)
		return -1;
	memcpy(next, offset, backends * sizeof(*next));
	memset(owner, 0xff, slots * sizeof(*owner));
	while (filled < slots) {
		for (uint32_t i = 0; i < backends && filled < slots; i++) {
			for (uint32_t taken = 0; taken < weight[i] && filled < slots; taken++) {
				uint32_t slot = next[i];

				while (owner[slot] != FREE) {
					slot += skip[i];
					// Both are below `slots`, and a division would take most of the time.
					if (slot >= slots)
						slot -= slots;
				}
				owner[slot] = label[i];
				next[i] = slot;
				filled++;
			}
		}
	}
	free(next);
	return 0;
}
