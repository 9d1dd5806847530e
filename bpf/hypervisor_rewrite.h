// Rewrite one side of a packet, with every checksum that covers it.
#pragma once

#include "hypervisor_packet.h"

static __always_inline __u32 address_offset(const struct packet *packet, enum side side)
{
	if (packet->version == 6)
		return packet->l3 + (side == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	return packet->l3 + (side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
}

static __always_inline struct address address_of(const struct packet *packet, enum side side)
{
	return side == SOURCE ? packet->source : packet->destination;
}

static __always_inline __u32 port_offset(const struct packet *packet, enum side side)
{
	return packet->l4 + (side == SOURCE ? 0 : 2);
}

static __always_inline __u32 l4_checksum_offset(const struct packet *packet)
{
	switch (packet->protocol) {
	case IPPROTO_TCP:
		return packet->l4 + 16;
	case IPPROTO_UDP:
		return packet->l4 + 6;
	default: // ICMP
		return packet->l4 + 2;
	}
}

// The address alone, with the checksum of its own header, which IPv6 lacks.
static __always_inline bool rewrite_address(struct __sk_buff *skb, const struct packet *packet, enum side side,
					    struct address to)
{
	__u32 from = address_of(packet, side).words[0], checksum = packet->l3 + offsetof(struct iphdr, check);
	__be32 first = to.words[0];

	// The kernel takes the pseudo header's change out of a sum that the device made of all bytes: put the address's in.
	if (packet->version == 6)
		return bpf_skb_store_bytes(skb, address_offset(packet, side), &to, sizeof(to), BPF_F_RECOMPUTE_CSUM) == 0;
	return bpf_l3_csum_replace(skb, checksum, from, first, sizeof(first)) == 0 &&
	       bpf_skb_store_bytes(skb, address_offset(packet, side), &first, sizeof(first), 0) == 0;
}

// The checksum of what follows the IP header covers its addresses too: that of TCP, of UDP, and of ICMPv6.
static __always_inline bool rewrite_pseudo_header(struct __sk_buff *skb, const struct packet *packet, enum side side,
						  struct address to, __u64 flags)
{
	struct address from = address_of(packet, side);
	__u32 checksum = l4_checksum_offset(packet);

	flags |= BPF_F_PSEUDO_HDR;
	if (packet->version == 4)
		return bpf_l4_csum_replace(skb, checksum, from.words[0], to.words[0], flags | 4) == 0;
	return bpf_l4_csum_replace(skb, checksum, 0,
				   bpf_csum_diff(from.words, sizeof(from), to.words, sizeof(to), 0), flags) == 0;
}

// Rewrites address and port with all checksums; a UDP packet without a checksum stays without one (RFC 768).
static __always_inline bool rewrite(struct __sk_buff *skb, const struct packet *packet, enum side side,
				    struct address address, __be16 port)
{
	__be16 from_port = side == SOURCE ? packet->source_port : packet->destination_port;
	__u64 zero_stays = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	return rewrite_pseudo_header(skb, packet, side, address, zero_stays) &&
	       bpf_l4_csum_replace(skb, l4_checksum_offset(packet), from_port, port, zero_stays | 2) == 0 &&
	       bpf_skb_store_bytes(skb, port_offset(packet, side), &port, sizeof(port), 0) == 0 &&
	       rewrite_address(skb, packet, side, address);
}
