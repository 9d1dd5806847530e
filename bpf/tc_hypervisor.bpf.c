// The hypervisor's side of the load balancer, IPv4, as two tc classifiers in direct-action mode.
//
//   hypervisor_uplink    ingress of each uplink: takes packets out of the tunnel, although its outer destination is an
//                        instance's own address, and translates VIP:port to instance:target_port
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
#include "hypervisor_tunnel.h"

static __always_inline int fate(enum counter which, int verdict)
{
	count(which);
	return verdict;
}

// An error about a reply, which the client's side knows as coming from VIP:port.
static __always_inline int deliver_error(struct __sk_buff *skb, const struct packet *error, __be32 instance)
{
	struct packet quote;
	struct rule *rule;

	if (!parse_quote(skb, error, &quote) || quote.source != error->destination)
		return fate(DROPPED_NO_RULE, TC_ACT_SHOT);
	rule = find_rule(instance, quote.source, quote.source_port, quote.protocol);
	if (!rule)
		return fate(DROPPED_NO_RULE, TC_ACT_SHOT);
	if (!rewrite_quote(skb, error, &quote, SOURCE, instance, rule->target_port) ||
	    !rewrite_address(skb, error, DESTINATION, instance))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(ICMP_TRANSLATED, TC_ACT_UNSPEC);
}

// The packet has left its tunnel. Without a rule it is dropped: routed, it would go back to the load balancer and circle.
static __always_inline int deliver(struct __sk_buff *skb, __be32 instance)
{
	struct packet packet;
	struct rule *rule;

	if (!parse(skb, ETH_HLEN, &packet))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	// Only the first fragment tells its port, and LB nodes send none of them on.
	if (packet.first_fragment || packet.later_fragment)
		return fate(DROPPED_FRAGMENT, TC_ACT_SHOT);
	if (packet.protocol == IPPROTO_ICMP)
		return deliver_error(skb, &packet, instance);
	rule = find_rule(instance, packet.destination, packet.destination_port, packet.protocol);
	if (!rule)
		return fate(DROPPED_NO_RULE, TC_ACT_SHOT);
	remember(&packet, instance, rule->target_port);
	if (!rewrite(skb, &packet, DESTINATION, instance, rule->target_port))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(TRANSLATED, TC_ACT_UNSPEC);
}

static __always_inline int decapsulate(struct __sk_buff *skb, const struct packet *outer)
{
	if (!take_out(skb, outer))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	count(DECAPSULATED);
	return deliver(skb, outer->destination);
}

SEC("tc")
int hypervisor_uplink(struct __sk_buff *skb)
{
	struct packet packet;

	if (!parse_frame(skb, &packet) || !bpf_map_lookup_elem(&instances, &packet.destination))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (packet.protocol != IPPROTO_IPIP) {
		forget_direct(skb, &packet);
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	}
	if (!is_tunnel_source(packet.source))
		return fate(PASSED_FOREIGN_TUNNEL, TC_ACT_UNSPEC);
	if (packet.first_fragment || packet.later_fragment)
		return fate(DROPPED_FRAGMENT, TC_ACT_SHOT);
	return decapsulate(skb, &packet);
}

// An instance complains about a packet it was handed translated (a closed UDP port, say).
static __always_inline int reply_error(struct __sk_buff *skb, const struct packet *error)
{
	struct packet quote;
	struct flow_key key;
	struct flow *flow;

	if (!parse_quote(skb, error, &quote))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	key = flow_key(&quote);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || quote.destination != error->source)
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (!rewrite_quote(skb, error, &quote, DESTINATION, flow->vip, flow->port) ||
	    !rewrite_address(skb, error, SOURCE, flow->vip))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(ICMP_TRANSLATED, TC_ACT_UNSPEC);
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

static __always_inline int reply_later_fragment(struct __sk_buff *skb, const struct packet *packet)
{
	struct fragment_key key = fragment_key(packet);
	__be32 *vip = bpf_map_lookup_elem(&fragments, &key);

	if (!vip)
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (!rewrite_address(skb, packet, SOURCE, *vip))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(REPLIED, TC_ACT_UNSPEC);
}

static __always_inline int reply(struct __sk_buff *skb, const struct packet *packet, struct flow flow)
{
	struct fragment_key fragment = fragment_key(packet);

	if (packet->first_fragment)
		bpf_map_update_elem(&fragments, &fragment, &flow.vip, BPF_ANY);
	if (!rewrite(skb, packet, SOURCE, flow.vip, flow.port))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	if (tcp_flags(skb, packet) & TCP_FLAG_SYN && !clamp_mss(skb, packet))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return fate(REPLIED, TC_ACT_UNSPEC);
}

SEC("tc")
int hypervisor_instance(struct __sk_buff *skb)
{
	struct packet packet;
	struct flow_key key;
	struct flow *flow;

	if (!parse_frame(skb, &packet))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (packet.later_fragment)
		return reply_later_fragment(skb, &packet);
	if (packet.protocol == IPPROTO_ICMP)
		return reply_error(skb, &packet);
	key = reverse_flow_key(&packet);
	flow = has_ports(&packet) ? bpf_map_lookup_elem(&flows, &key) : NULL;
	if (flow && packet.protocol == IPPROTO_TCP && begins(skb, &packet)) {
		forget(&key); // the instance itself opens a connection, from its service's port
		flow = NULL;
	}
	if (!flow) {
		forget_direct(skb, &packet); // to a neighbour, without passing an uplink
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	}
	return reply(skb, &packet, *flow);
}

char _license[] SEC("license") = "GPL";
