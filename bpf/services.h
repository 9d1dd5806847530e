// From (VIP, protocol, port) to the service: an open-addressing hash table in one array value, for both families.
#pragma once
#include "layout.h"
#include "parse.h"
#include "parse_v6.h"

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

// The place of the service in the two copies taken as one array, or -1. IPv4 has no more than the key to compare.
inlined int find(service_key key, bool is_ipv6, __u64 first_half, __u64 second_half)
{
	__u32 zero = 0;
	struct service_table *table = bpf_map_lookup_elem(&services, &zero);

	if (!table)
		return -1;
	__u32 home = (key * 0x9E3779B97F4A7C15ULL) >> (64 - SERVICE_SLOTS_LOG2); // Fibonacci hashing (Knuth, volume 3)
	__u32 first = (table->active & 1) * COPY_SLOTS + home;
	for (__u32 probe = 0; probe < SERVICE_PROBES; probe++) {
		struct service *service = &table->slot[first + probe];

		if (service->key == key && (!is_ipv6 || (service->address[0] == first_half && service->address[1] == second_half)))
			return first + probe;
		if (!service->key)
			return -1;
	}
	return -1;
}

// Global functions (not static), because the verifier checks those once instead of once for every way through the
// caller: inlined, this loop alone would multiply its work by the number of probes.
__noinline int find_service(service_key key)
{
	return find(key, false, 0, 0);
}

__noinline int find_service_v6(service_key key, __u64 first_half, __u64 second_half)
{
	return find(key, true, first_half, second_half);
}

inlined struct service *service_at(__u32 place)
{
	__u32 zero = 0;
	struct service_table *table = bpf_map_lookup_elem(&services, &zero);

	return table && place < 2 * COPY_SLOTS ? &table->slot[place] : NULL;
}

inlined struct service *service_of(struct packet *packet)
{
	return service_at(find_service((__u64)packet->address << 32 | (packet->ports & 0xffff0000) | packet->protocol));
}

inlined struct service *service_of_v6(struct packet *packet, struct ends_v6 *ends)
{
	__u64 both = ends->vip[0] ^ ends->vip[1];
	__u64 key = (both ^ both >> 32) << 32 | (packet->ports & 0xffff0000) | 6 << 8 | packet->protocol;

	return service_at(find_service_v6(key, ends->vip[0], ends->vip[1]));
}
