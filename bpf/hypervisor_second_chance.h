// A packet with two headers: its LB node does not know which of two instances has the flow. The first header leads to
// the one that had the flow's slot before it changed hands, the second to the one that has it now. The first one's
// hypervisor knows: it keeps the packet if that instance has the flow, else it takes the first header off and lets the
// kernel send on what is left (docs/decisions/0020-second-chance.md). Every hop takes a header off, so nothing circles.
#pragma once

#include "hypervisor_icmp.h"
#include "hypervisor_packet.h"
#include "hypervisor_tunnel.h"

// Whether what was in a tunnel is in another one. LB nodes send no fragments.
static __always_inline bool has_second_chance(const struct packet *packet)
{
	return packet->protocol == tunnel_of(packet->version) && !packet->first_fragment && !packet->later_fragment &&
	       is_tunnel_source(packet);
}

// Whether this instance has the flow; each program remembers flows in its own way. `segment` as in `is_alive`.
static __always_inline bool has_flow(const struct packet *packet, const struct segment *segment, struct address instance);

// The client's packet that an ICMP error is about: what it quotes is the reply.
static __always_inline bool parse_cause(struct __sk_buff *skb, const struct packet *error, struct packet *cause)
{
	struct packet quote;

	if (!parse_quote(skb, error, &quote))
		return false;
	*cause = quote;
	cause->source = quote.destination;
	cause->destination = quote.source;
	cause->source_port = quote.destination_port;
	cause->destination_port = quote.source_port;
	return true;
}

// Whether the instance that the first header led to keeps what is in the second tunnel.
static __always_inline bool is_kept(struct __sk_buff *skb, const struct packet *second, struct address instance)
{
	struct packet inner, cause;
	struct segment segment;

	if (!parse(skb, second->l4, second->version, &inner))
		return false;
	if (inner.protocol == icmp_of(inner.version))
		return parse_cause(skb, &inner, &cause) && has_flow(&cause, NULL, instance);
	segment = segment_of(skb, &inner);
	return has_ports(&inner) && !inner.first_fragment && has_flow(&inner, &segment, instance);
}
