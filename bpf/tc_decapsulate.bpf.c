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

SEC("tc")
int hypervisor_decapsulate(struct __sk_buff *skb)
{
	struct packet outer, inner;
	__u32 *mark;

	if (!parse_frame(skb, &outer) || outer.protocol != IPPROTO_IPIP)
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	mark = bpf_map_lookup_elem(&instances, &outer.destination);
	if (!mark)
		return fate(PASSED_OTHER, TC_ACT_UNSPEC);
	if (!is_tunnel_source(outer.source))
		return fate(PASSED_FOREIGN_TUNNEL, TC_ACT_UNSPEC);
	if (outer.first_fragment || outer.later_fragment)
		return fate(DROPPED_FRAGMENT, TC_ACT_SHOT);
	if (!parse(skb, outer.l4, &inner) || !take_out(skb, &outer))
		return fate(DROPPED_MALFORMED, TC_ACT_SHOT);
	skb->mark = *mark;
	return fate(DECAPSULATED, TC_ACT_UNSPEC);
}

SEC("tc")
int hypervisor_guard(struct __sk_buff *skb)
{
	__be32 instance = bpf_htonl(skb->mark);

	if (!instance || !bpf_map_lookup_elem(&instances, &instance))
		return TC_ACT_UNSPEC;
	return fate(DROPPED_UNTRANSLATED, TC_ACT_SHOT);
}

char _license[] SEC("license") = "GPL";
