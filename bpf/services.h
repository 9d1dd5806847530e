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

inlined struct service *find_service(struct packet *packet)
{
	__u32 zero = 0;
	struct service_table *table = bpf_map_lookup_elem(&services, &zero);
	service_key key = (__u64)packet->address << 32 | (packet->ports & 0xffff0000) | packet->protocol;

	if (!table)
		return NULL;
	struct service *copy = table->copy[table->active & 1];
	__u32 first = (key * 0x9E3779B97F4A7C15ULL) >> (64 - SERVICE_SLOTS_LOG2); // Fibonacci hashing (Knuth, volume 3)
	for (__u32 probe = 0; probe < SERVICE_PROBES; probe++) {
		struct service *service = &copy[first + probe];

		if (service->key == key)
			return service;
		if (!service->key)
			return NULL;
	}
	return NULL;
}
