// From (VIP, protocol, port) to the service: an open-addressing hash table in one array value.
#pragma once
#include "layout.h"
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct service_table);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct total);
} service_totals SEC(".maps");

#define COPY_SLOTS (SERVICE_SLOTS + SERVICE_PROBES)

// The place of the service in the two copies taken as one array, or -1. A global function (not static), because the
// verifier checks those once instead of once for every way through the caller: inlined, this loop alone would multiply
// its work by the number of probes.
__noinline int find_service(service_key key)
{
	__u32 zero = 0;
	struct service_table *table = bpf_map_lookup_elem(&services, &zero);

	if (!table)
		return -1;
	__u32 home = (key * 0x9E3779B97F4A7C15ULL) >> (64 - SERVICE_SLOTS_LOG2); // Fibonacci hashing (Knuth, volume 3)
	__u32 first = (table->active & 1) * COPY_SLOTS + home;
	for (__u32 probe = 0; probe < SERVICE_PROBES; probe++) {
		__u64 found = table->slot[first + probe].key;

		if (found == key)
			return first + probe;
		if (!found)
			return -1;
	}
	return -1;
}

inlined struct service *service_of(struct packet *packet)
{
	__u32 zero = 0;
	struct service_table *table = bpf_map_lookup_elem(&services, &zero);
	__u32 place = find_service((__u64)packet->address << 32 | (packet->ports & 0xffff0000) | packet->protocol);

	return table && place < 2 * COPY_SLOTS ? &table->slot[place] : NULL;
}
