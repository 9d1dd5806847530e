// A hypervisor whose packets nftables translates (`src/bascule/forwarding/netfilter/render.py`).
//
//   hypervisor_decapsulate  ingress of each uplink: takes packets out of the LB nodes' tunnels, although the outer
//                           destination is an instance's own address, and marks them with the instance: the inner
//                           packet no longer says which one was chosen. nftables translates by that mark and clears it
//   hypervisor_guard        egress of each uplink: drops what still carries it. Without nftables' rules the packet goes
//                           back to the LB nodes, which send it here again, until its TTL ends
#include <linux/pkt_cls.h>

#include "decapsulate_maps.h"
#include "hypervisor_packet.h"
#include "hypervisor_tunnel.h"

static __always_inline __u32 *mark_of(const struct packet *outer)
{
	struct address address = outer->destination;
	__be32 first = address.words[0];

	return outer->version == 6 ? bpf_map_lookup_elem(&instances6, &address) : bpf_map_lookup_elem(&instances, &first);
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
	if (!parse(skb, outer.l4, version, &inner) || !take_out(skb, &outer))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	skb->mark = *mark;
	return fate(DECAPSULATED, TC_ACT_UNSPEC);
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
