// Rules say where a service's packets go; flows remember which connections came that way, until something new begins.
#pragma once

#include "hypervisor_maps.h"
#include "hypervisor_packet.h"
#include "hypervisor_tables.h"

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

static __always_inline void forget(int version, struct flow_key key)
{
	struct flow known;

	// Looking first spares every direct packet the lock of the table.
	if (look_up_flow(version, key, &known) && delete_flow(version, key))
		count(DIRECT_FLOW_FORGOTTEN);
}

// A client speaks to an instance directly: what an earlier tunnelled connection of the same ports left must go, or the
// replies would be translated.
static __always_inline void forget_direct(struct __sk_buff *skb, const struct packet *packet)
{
	if (begins(skb, packet))
		forget(packet->version, flow_key(packet));
}

// The rule for what an LB node sends to this instance for a port of the VIP.
static __always_inline struct rule *find_rule(const struct packet *packet, struct address instance, enum side vip)
{
	struct rule_key key = { .instance = instance, .protocol = packet->protocol };

	key.vip = vip == SOURCE ? packet->source : packet->destination;
	key.port = vip == SOURCE ? packet->source_port : packet->destination_port;
	return look_up_rule(packet->version, key);
}

static __always_inline void remember(const struct packet *packet, struct address instance, __be16 target_port)
{
	struct flow seen = { .vip = packet->destination, .port = packet->destination_port };
	struct flow_key key = flow_key(packet);
	struct flow known;

	key.instance = instance;
	key.target_port = target_port;
	if (!look_up_flow(packet->version, key, &known) || !is_same(known.vip, seen.vip) || known.port != seen.port)
		write_flow(packet->version, key, seen);
}
