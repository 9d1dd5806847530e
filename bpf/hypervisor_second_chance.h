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

// The client's packet in the second tunnel, or for an error the one that the client would send: an error quotes a reply.
// Returns false when there is none with ports.
static __always_inline bool parse_flow(struct __sk_buff *skb, const struct packet *second, struct packet *flow)
{
	struct packet inner;

	if (!parse(skb, second->l4, second->version, &inner))
		return false;
	if (inner.protocol != icmp_of(inner.version)) {
		*flow = inner;
		return has_ports(flow) && !flow->first_fragment;
	}
	if (!parse_quote(skb, &inner, flow))
		return false;
	inner = *flow;
	flow->source = inner.destination;
	flow->destination = inner.source;
	flow->source_port = inner.destination_port;
	flow->destination_port = inner.source_port;
	return true;
}
