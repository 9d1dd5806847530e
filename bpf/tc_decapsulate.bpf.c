// A hypervisor whose packets nftables translates (`src/bascule/forwarding/netfilter/render.py`).
//
//   hypervisor_decapsulate  ingress of each uplink: takes packets out of the LB nodes' tunnels, although the outer
//                           destination is an instance's own address, and marks them with the instance: the inner
//                           packet no longer says which one was chosen. nftables translates by that mark and clears it.
//                           Of packets with two headers it takes off the first only when the flow is not this instance's
//   hypervisor_guard        egress of each uplink: drops what still carries it. Without nftables' rules the packet goes
//                           back to the LB nodes, which send it here again, until its TTL ends
#include <linux/pkt_cls.h>

#include "decapsulate_maps.h"
#include "hypervisor_age.h"
#include "hypervisor_packet.h"
#include "hypervisor_second_chance.h"
#include "hypervisor_tunnel.h"

static __always_inline __u32 *mark_of(const struct packet *outer)
{
	struct address address = outer->destination;
	__be32 first = address.words[0];

	return outer->version == 6 ? bpf_map_lookup_elem(&instances6, &address) : bpf_map_lookup_elem(&instances, &first);
}

static __always_inline struct flow_key key_at(const struct packet *packet, struct address instance)
{
	return (struct flow_key){
		.client = packet->source,
		.instance = instance,
		.vip = packet->destination,
		.client_port = packet->source_port,
		.port = packet->destination_port,
		.protocol = packet->protocol,
	};
}

// `packet` is the client's, or what a client's would be. The kernel's own memory of flows cannot be asked by what Linux
// 6.1 lets a program call without the kernel's BTF.
static __always_inline void remember(struct __sk_buff *skb, const struct packet *packet, struct address instance)
{
	struct flow_key key = key_at(packet, instance);
	__u16 *age = bpf_map_lookup_elem(&clients, &key), first;
	struct segment segment = segment_of(skb, packet);

	if (age) {
		grow_old(age, &segment);
		return;
	}
	first = age_after(0, &segment);
	bpf_map_update_elem(&clients, &key, &first, BPF_ANY);
}

// `segment` as in `is_alive`.
static __always_inline bool has_flow(const struct packet *packet, const struct segment *segment, struct address instance)
{
	struct flow_key key = key_at(packet, instance);
	__u16 *age = bpf_map_lookup_elem(&clients, &key);

	return age && is_alive(*age, packet->protocol, segment);
}

// The packet is out of its tunnels: nftables translates it by the mark.
static __always_inline int hand_over(struct __sk_buff *skb, const struct packet *packet, struct address instance,
				     __u32 mark)
{
	if (has_ports(packet))
		remember(skb, packet, instance);
	skb->mark = mark;
	return TC_ACT_UNSPEC;
}

// The packet has lost its first header, which led to this instance and its mark, and begins with its second.
static __always_inline int decide(struct __sk_buff *skb, const struct packet *second, struct address instance, __u32 mark)
{
	struct packet inner;
	__u32 *other;

	if (is_kept(skb, second, instance)) {
		count(SECOND_CHANCE_KEPT);
	} else {
		count(SECOND_CHANCE_PASSED);
		other = mark_of(second);
		if (!other)
			return TC_ACT_UNSPEC;
		instance = second->destination;
		mark = *other;
	}
	if (!take_out(skb, second) || !parse(skb, ETH_HLEN, second->version, &inner))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	return hand_over(skb, &inner, instance, mark);
}

static __always_inline int decapsulate(struct __sk_buff *skb, int version)
{
	struct packet outer, inner;
	__u32 *mark;

	if (!parse_frame(skb, version, &outer) || outer.protocol != tunnel_of(version))
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	mark = mark_of(&outer);
	if (!mark)
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (!is_tunnel_source(&outer))
		return fate(PASSED_FOREIGN_TUNNEL, TC_ACT_UNSPEC);
	if (outer.first_fragment || outer.later_fragment)
		return fate(DROPPED_FRAGMENT, TC_ACT_SHOT);
	if (!take_out(skb, &outer) || !parse(skb, ETH_HLEN, version, &inner))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	count(DECAPSULATED);
	if (has_second_chance(&inner))
		return decide(skb, &inner, outer.destination, *mark);
	return hand_over(skb, &inner, outer.destination, *mark);
}

SEC("tc")
int hypervisor_decapsulate(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return decapsulate(skb, 4);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return decapsulate(skb, 6);
	return fate(PASSED_OTHER, TC_ACT_UNSPEC);
}

SEC("tc")
int hypervisor_guard(struct __sk_buff *skb)
{
	__u32 mark = skb->mark;

	if (!mark || !bpf_map_lookup_elem(&marks, &mark))
		return TC_ACT_UNSPEC;
	return fate(DROPPED_UNTRANSLATED, TC_ACT_SHOT);
}

char _license[] SEC("license") = "GPL";
