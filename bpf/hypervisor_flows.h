// Rules say where a service's packets go; flows remember which connections came that way, until something new begins.
#pragma once

#include "hypervisor_maps.h"
#include "hypervisor_packet.h"

static __always_inline struct flow_key flow_key(const struct packet *from_client)
{
	return (struct flow_key){
		.client = from_client->source,
		.instance = from_client->destination,
		.client_port = from_client->source_port,
		.target_port = from_client->destination_port,
		.protocol = from_client->protocol,
	};
}

static __always_inline struct flow_key reverse_flow_key(const struct packet *from_instance)
{
	return (struct flow_key){
		.client = from_instance->destination,
		.instance = from_instance->source,
		.client_port = from_instance->destination_port,
		.target_port = from_instance->source_port,
		.protocol = from_instance->protocol,
	};
}

// Whether this packet begins something new: a SYN, or any UDP packet, since UDP has no beginning.
static __always_inline bool begins(struct __sk_buff *skb, const struct packet *packet)
{
	if (!has_ports(packet))
		return false;
	return packet->protocol == IPPROTO_UDP ||
	       (tcp_flags(skb, packet) & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
}

static __always_inline void forget(const struct flow_key *key)
{
	// Looking first spares every direct packet the lock of the table.
	if (bpf_map_lookup_elem(&flows, key) && bpf_map_delete_elem(&flows, key) == 0)
		count(DIRECT_FLOW_FORGOTTEN);
}

// A client speaks to an instance directly: what an earlier tunnelled connection of the same ports left must go, or the
// replies would be translated.
static __always_inline void forget_direct(struct __sk_buff *skb, const struct packet *packet)
{
	struct flow_key key = flow_key(packet);

	if (begins(skb, packet))
		forget(&key);
}

static __always_inline struct rule *find_rule(__be32 instance, __be32 vip, __be16 port, __u8 protocol)
{
	struct rule_key key = { .instance = instance, .vip = vip, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&rules, &key);
}

static __always_inline void remember(const struct packet *packet, __be32 instance, __be16 target_port)
{
	struct flow seen = { .vip = packet->destination, .port = packet->destination_port };
	struct flow_key key = flow_key(packet);
	struct flow *known;

	key.instance = instance;
	key.target_port = target_port;
	known = bpf_map_lookup_elem(&flows, &key);
	if (!known || known->vip != seen.vip || known->port != seen.port)
		bpf_map_update_elem(&flows, &key, &seen, BPF_ANY);
}
