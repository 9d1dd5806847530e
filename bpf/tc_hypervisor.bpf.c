// The hypervisor's side of the load balancer, as two tc classifiers in direct-action mode.
//
//   hypervisor_uplink    ingress of each uplink: takes packets out of the tunnel, although its outer destination is an
//                        instance's own address, and translates VIP:port to instance:target_port; of packets with two
//                        headers it takes off the first only when the flow is not this instance's
//   hypervisor_instance  ingress of the interface that leads to instances: translates their replies back to VIP:port
//
// Only connections that came through a tunnel are touched. Packets that are let through are left to further filters
// (TC_ACT_UNSPEC) and then to the stack, which routes them.
#include <linux/pkt_cls.h>

#include "hypervisor_flows.h"
#include "hypervisor_icmp.h"
#include "hypervisor_maps.h"
#include "hypervisor_mss.h"
#include "hypervisor_packet.h"
#include "hypervisor_rewrite.h"
#include "hypervisor_second_chance.h"
#include "hypervisor_tables.h"
#include "hypervisor_tunnel.h"

// An error about a reply, which the client's side knows as coming from VIP:port.
static __always_inline int deliver_error(struct __sk_buff *skb, const struct packet *error, struct address instance)
{
	struct packet quote;
	struct rule *rule;

	if (!parse_quote(skb, error, &quote) || !is_same(quote.source, error->destination))
		return fate(DROPPED_NO_RULE, TC_ACT_SHOT);
	rule = find_rule(&quote, instance, SOURCE);
	if (!rule)
		return fate(DROPPED_NO_RULE, TC_ACT_SHOT);
	if (!rewrite_quote(skb, error, &quote, SOURCE, instance, rule->target_port) ||
	    !rewrite_error(skb, error, DESTINATION, instance))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(ICMP_TRANSLATED, TC_ACT_UNSPEC);
}

// The packet has left its tunnels. Without a rule it is dropped: routed, it would go back to the load balancer and circle.
static __always_inline int deliver(struct __sk_buff *skb, const struct packet *packet, struct address instance)
{
	struct rule *rule;

	// Only the first fragment tells its port, and LB nodes send none of them on.
	if (packet->first_fragment || packet->later_fragment)
		return fate(DROPPED_FRAGMENT, TC_ACT_SHOT);
	if (packet->protocol == icmp_of(packet->version))
		return deliver_error(skb, packet, instance);
	rule = find_rule(packet, instance, DESTINATION);
	if (!rule)
		return fate(DROPPED_NO_RULE, TC_ACT_SHOT);
	remember(skb, packet, instance, rule->target_port);
	if (!rewrite(skb, packet, DESTINATION, instance, rule->target_port))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(TRANSLATED, TC_ACT_UNSPEC);
}

// Whether the packet in the second tunnel stays here; `instance` then is the one that gets it.
static __always_inline bool stays(struct __sk_buff *skb, const struct packet *second, struct address *instance)
{
	if (is_kept(skb, second, *instance)) {
		count(SECOND_CHANCE_KEPT);
		return true;
	}
	count(SECOND_CHANCE_PASSED);
	*instance = second->destination;
	return is_instance(second);
}

static __always_inline int decapsulate(struct __sk_buff *skb, const struct packet *outer)
{
	struct address instance = outer->destination;
	struct packet packet;

	if (!take_out(skb, outer))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	count(DECAPSULATED);
	if (!parse(skb, ETH_HLEN, outer->version, &packet))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	if (has_second_chance(&packet)) {
		if (!stays(skb, &packet, &instance))
			return TC_ACT_UNSPEC;
		if (!take_out(skb, &packet) || !parse(skb, ETH_HLEN, outer->version, &packet))
			return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	}
	return deliver(skb, &packet, instance);
}

static __always_inline int uplink(struct __sk_buff *skb, int version)
{
	struct segment segment;
	struct packet packet;

	if (!parse_frame(skb, version, &packet) || !is_instance(&packet))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (packet.protocol != tunnel_of(version)) {
		segment = segment_of(skb, &packet);
		forget_direct(&packet, &segment);
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	}
	if (!is_tunnel_source(&packet))
		return fate(PASSED_FOREIGN_TUNNEL, TC_ACT_UNSPEC);
	if (packet.first_fragment || packet.later_fragment)
		return fate(DROPPED_FRAGMENT, TC_ACT_SHOT);
	return decapsulate(skb, &packet);
}

SEC("tc")
int hypervisor_uplink(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return uplink(skb, 4);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return uplink(skb, 6);
	return fate(PASSED_OTHER, TC_ACT_UNSPEC);
}

// An instance complains about a packet it was handed translated (a closed UDP port, say).
static __always_inline int reply_error(struct __sk_buff *skb, const struct packet *error)
{
	struct packet quote;
	struct flow flow;

	if (!parse_quote(skb, error, &quote) || !is_same(quote.destination, error->source) ||
	    !look_up_flow(quote.version, flow_key(&quote), &flow))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (!rewrite_quote(skb, error, &quote, DESTINATION, flow.vip, flow.port) ||
	    !rewrite_error(skb, error, SOURCE, flow.vip))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(ICMP_TRANSLATED, TC_ACT_UNSPEC);
}

static __always_inline int reply_later_fragment(struct __sk_buff *skb, const struct packet *packet)
{
	struct address vip;

	if (!look_up_fragment(packet, &vip))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (!rewrite_address(skb, packet, SOURCE, vip))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(REPLIED, TC_ACT_UNSPEC);
}

static __always_inline int reply(struct __sk_buff *skb, const struct packet *packet, const struct segment *segment,
				 struct flow flow)
{
	if (packet->first_fragment)
		write_fragment(packet, flow.vip);
	if (!rewrite(skb, packet, SOURCE, flow.vip, flow.port))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	if (segment->flags & TCP_FLAG_SYN && !clamp_mss(skb, packet->l4, largest_segment(packet)))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(REPLIED, TC_ACT_UNSPEC);
}

static __always_inline int instance(struct __sk_buff *skb, int version)
{
	struct segment segment;
	struct packet packet;
	struct flow_key key;
	struct flow flow;
	bool known;

	if (!parse_frame(skb, version, &packet))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (packet.later_fragment)
		return reply_later_fragment(skb, &packet);
	if (packet.protocol == icmp_of(version))
		return reply_error(skb, &packet);
	segment = segment_of(skb, &packet);
	key = reverse_flow_key(&packet);
	known = has_ports(&packet) && look_up_flow(version, key, &flow);
	if (known && packet.protocol == IPPROTO_TCP && begins(&packet, &segment)) {
		forget(version, key); // the instance itself opens a connection, from its service's port
		known = false;
	}
	if (!known) {
		forget_direct(&packet, &segment); // to a neighbour, without passing an uplink
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	}
	if (segment.flags & TCP_FLAG_RST)
		delete_flow(version, key); // the instance has no such connection, or no longer
	return reply(skb, &packet, &segment, flow);
}

SEC("tc")
int hypervisor_instance(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return instance(skb, 4);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return instance(skb, 6);
	return fate(PASSED_OTHER, TC_ACT_UNSPEC);
}

char _license[] SEC("license") = "GPL";
