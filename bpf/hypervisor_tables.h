// The maps of both families behind one face: the version, a constant, chooses.
#pragma once

#include "hypervisor_maps.h"

static __always_inline bool is_instance(const struct packet *packet)
{
	struct address address = packet->destination;
	__be32 first = address.words[0];

	if (packet->version == 6)
		return bpf_map_lookup_elem(&instances6, &address);
	return bpf_map_lookup_elem(&instances, &first);
}

static __always_inline struct rule *look_up_rule(int version, struct rule_key key)
{
	struct rule_key4 key4 = { key.instance.words[0], key.vip.words[0], key.port, key.protocol, 0 };

	return version == 6 ? bpf_map_lookup_elem(&rules6, &key) : bpf_map_lookup_elem(&rules, &key4);
}

static __always_inline struct flow_key4 narrow_flow(const struct flow_key *key)
{
	return (struct flow_key4){
		.client = key->client.words[0],
		.instance = key->instance.words[0],
		.client_port = key->client_port,
		.target_port = key->target_port,
		.protocol = key->protocol,
	};
}

// Copies the flow, and returns where its age is; NULL when it is not known.
static __always_inline __u16 *look_up_flow(int version, struct flow_key key, struct flow *flow)
{
	struct flow_key4 key4 = narrow_flow(&key);
	struct flow4 *found4;
	struct flow *found;

	if (version == 6) {
		found = bpf_map_lookup_elem(&flows6, &key);
		if (!found)
			return NULL;
		*flow = *found;
		return &found->age;
	}
	found4 = bpf_map_lookup_elem(&flows, &key4);
	if (!found4)
		return NULL;
	*flow = (struct flow){ .vip.words = { found4->vip }, .port = found4->port, .age = found4->age };
	return &found4->age;
}

static __always_inline void write_flow(int version, struct flow_key key, struct flow flow)
{
	struct flow_key4 key4 = narrow_flow(&key);
	struct flow4 flow4 = { .vip = flow.vip.words[0], .port = flow.port, .age = flow.age };

	if (version == 6)
		bpf_map_update_elem(&flows6, &key, &flow, BPF_ANY);
	else
		bpf_map_update_elem(&flows, &key4, &flow4, BPF_ANY);
}

static __always_inline bool delete_flow(int version, struct flow_key key)
{
	struct flow_key4 key4 = narrow_flow(&key);

	return (version == 6 ? bpf_map_delete_elem(&flows6, &key) : bpf_map_delete_elem(&flows, &key4)) == 0;
}

static __always_inline struct fragment_key fragment_key(const struct packet *packet)
{
	return (struct fragment_key){
		.source = packet->source,
		.destination = packet->destination,
		.id = packet->id,
		.protocol = packet->protocol,
	};
}

static __always_inline struct fragment_key4 fragment_key4(const struct packet *packet)
{
	return (struct fragment_key4){
		.source = packet->source.words[0],
		.destination = packet->destination.words[0],
		.id = packet->id,
		.protocol = packet->protocol,
	};
}

// Remembers by which VIP the later fragments of this first one leave.
static __always_inline void write_fragment(const struct packet *packet, struct address vip)
{
	struct fragment_key4 key4 = fragment_key4(packet);
	struct fragment_key key = fragment_key(packet);
	__be32 first = vip.words[0];

	if (packet->version == 6)
		bpf_map_update_elem(&fragments6, &key, &vip, BPF_ANY);
	else
		bpf_map_update_elem(&fragments, &key4, &first, BPF_ANY);
}

static __always_inline bool look_up_fragment(const struct packet *packet, struct address *vip)
{
	struct fragment_key4 key4 = fragment_key4(packet);
	struct fragment_key key = fragment_key(packet);
	struct address *found;
	__be32 *found4;

	if (packet->version == 6) {
		found = bpf_map_lookup_elem(&fragments6, &key);
		if (found)
			*vip = *found;
		return found;
	}
	found4 = bpf_map_lookup_elem(&fragments, &key4);
	if (found4)
		*vip = (struct address){ .words = { *found4 } };
	return found4;
}
