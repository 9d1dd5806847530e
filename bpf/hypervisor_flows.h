// Rules say where a service's packets go; flows remember which connections came that way, until something new begins.
#pragma once

#include "hypervisor_age.h"
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
static __always_inline bool begins(const struct packet *packet, const struct segment *segment)
{
	if (!has_ports(packet))
		return false;
	return packet->protocol == IPPROTO_UDP || (segment->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
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
static __always_inline void forget_direct(const struct packet *packet, const struct segment *segment)
{
	if (begins(packet, segment))
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

// `packet` is the client's.
static __always_inline struct flow_key key_at(const struct packet *packet, struct address instance, __be16 target_port)
{
	struct flow_key key = flow_key(packet);

	key.instance = instance;
	key.target_port = target_port;
	return key;
}

static __always_inline bool is_through(const struct flow *flow, const struct packet *packet)
{
	return is_same(flow->vip, packet->destination) && flow->port == packet->destination_port;
}

static __always_inline void remember(struct __sk_buff *skb, const struct packet *packet, struct address instance,
				     __be16 target_port)
{
	struct flow_key key = key_at(packet, instance, target_port);
	struct segment segment = segment_of(skb, packet);
	struct flow known;
	__u16 *age = look_up_flow(packet->version, key, &known);

	if (age && is_through(&known, packet)) {
		grow_old(age, &segment);
		return;
	}
	known = (struct flow){ packet->destination, packet->destination_port, age_after(0, &segment) };
	write_flow(packet->version, key, known);
}

// Whether this instance has the flow of the client's packet; `segment` as in `is_alive`.
static __always_inline bool has_flow(const struct packet *packet, const struct segment *segment, struct address instance)
{
	struct rule *rule = find_rule(packet, instance, DESTINATION);
	struct flow known;

	return rule && look_up_flow(packet->version, key_at(packet, instance, rule->target_port), &known) &&
	       is_through(&known, packet) && is_alive(known.age, packet->protocol, segment);
}
