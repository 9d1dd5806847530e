// Read and rewrite IPv4 packets. Everything goes through helpers, so that packets whose bytes are not in one piece, GSO
// packets and checksums that the device is still to fill in need no care of ours.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TCP_FLAGS_OFFSET 13
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_ACK 0x10
#define FRAGMENT_OFFSET_MASK 0x1fff
#define MORE_FRAGMENTS 0x2000

struct packet {
	__be32 source;
	__be32 destination;
	__be16 source_port; // 0 without TCP or UDP, and in fragments but the first
	__be16 destination_port;
	__be16 id;
	__u8 protocol;
	__u8 tos;
	bool first_fragment;
	bool later_fragment;
	__u32 l3; // offset of the IPv4 header
	__u32 l4; // offset of what follows it
};

enum side { SOURCE, DESTINATION };

static __always_inline bool has_ports(const struct packet *packet)
{
	return (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) && !packet->later_fragment;
}

// Returns false when this is not a whole IPv4 header with what must follow it.
static __always_inline bool parse(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct iphdr ip;
	__be16 ports[2] = {};

	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return false;
	packet->source = ip.saddr;
	packet->destination = ip.daddr;
	packet->id = ip.id;
	packet->protocol = ip.protocol;
	packet->tos = ip.tos;
	packet->later_fragment = ip.frag_off & bpf_htons(FRAGMENT_OFFSET_MASK);
	packet->first_fragment = !packet->later_fragment && ip.frag_off & bpf_htons(MORE_FRAGMENTS);
	packet->l3 = offset;
	packet->l4 = offset + ip.ihl * 4;
	if (has_ports(packet) && bpf_skb_load_bytes(skb, packet->l4, ports, sizeof(ports)) < 0)
		return false;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	return true;
}

// Untagged IPv4 over Ethernet; the tag of a VLAN is never in the packet's bytes here.
static __always_inline bool parse_frame(struct __sk_buff *skb, struct packet *packet)
{
	return skb->protocol == bpf_htons(ETH_P_IP) && !skb->vlan_present && parse(skb, ETH_HLEN, packet);
}

static __always_inline __u8 tcp_flags(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 flags = 0;

	if (packet->protocol == IPPROTO_TCP && has_ports(packet))
		bpf_skb_load_bytes(skb, packet->l4 + TCP_FLAGS_OFFSET, &flags, sizeof(flags));
	return flags;
}

static __always_inline __u32 address_offset(const struct packet *packet, enum side side)
{
	return packet->l3 + (side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
}

static __always_inline __u32 port_offset(const struct packet *packet, enum side side)
{
	return packet->l4 + (side == SOURCE ? 0 : 2);
}

static __always_inline __u32 l4_checksum_offset(const struct packet *packet)
{
	return packet->l4 + (packet->protocol == IPPROTO_TCP ? 16 : 6);
}

static __always_inline bool rewrite_address(struct __sk_buff *skb, const struct packet *packet, enum side side, __be32 to)
{
	__be32 from = side == SOURCE ? packet->source : packet->destination;
	__u32 checksum = packet->l3 + offsetof(struct iphdr, check);

	return bpf_l3_csum_replace(skb, checksum, from, to, sizeof(to)) == 0 &&
	       bpf_skb_store_bytes(skb, address_offset(packet, side), &to, sizeof(to), 0) == 0;
}

// Rewrites address and port with both checksums; a UDP packet without a checksum stays without one (RFC 768).
static __always_inline bool rewrite(struct __sk_buff *skb, const struct packet *packet, enum side side,
				    __be32 address, __be16 port)
{
	__be32 from_address = side == SOURCE ? packet->source : packet->destination;
	__be16 from_port = side == SOURCE ? packet->source_port : packet->destination_port;
	__u32 checksum = l4_checksum_offset(packet);
	__u64 zero_stays = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	return bpf_l4_csum_replace(skb, checksum, from_address, address, BPF_F_PSEUDO_HDR | zero_stays | 4) == 0 &&
	       bpf_l4_csum_replace(skb, checksum, from_port, port, zero_stays | 2) == 0 &&
	       bpf_skb_store_bytes(skb, port_offset(packet, side), &port, sizeof(port), 0) == 0 &&
	       rewrite_address(skb, packet, side, address);
}
