// Whose tunnels are ours, and how to take a packet out of one. Settings are packed by
// `src/bascule/forwarding/tunnel_layout.py`. Addresses are in network order.
#pragma once

#include "hypervisor_packet.h"

#define MAX_TUNNEL_SOURCES 16
#define ECN_MASK 3
#define ECN_CONGESTION_EXPERIENCED 3

struct tunnel_source {
	__be32 network;
	__be32 mask;
};

struct tunnel_source6 {
	struct address network;
	struct address mask;
};

struct settings {
	__u32 tunnel_source_count;
	__u32 tunnel_source6_count;
	__u32 largest_segment;  // bytes of TCP that fit two IPv4 tunnels
	__u32 largest_segment6; // and two IPv6 ones
	struct tunnel_source tunnel_sources[MAX_TUNNEL_SOURCES]; // tunnels from elsewhere are not ours
	struct tunnel_source6 tunnel_sources6[MAX_TUNNEL_SOURCES];
};

const volatile struct settings settings = {};

static __always_inline bool is_tunnel_source4(__be32 address)
{
	for (__u32 i = 0; i < MAX_TUNNEL_SOURCES && i < settings.tunnel_source_count; i++)
		if ((address & settings.tunnel_sources[i].mask) == settings.tunnel_sources[i].network)
			return true;
	return false;
}

static __always_inline bool is_within(struct address address, const volatile struct tunnel_source6 *prefix)
{
	for (int i = 0; i < 4; i++)
		if ((address.words[i] & prefix->mask.words[i]) != prefix->network.words[i])
			return false;
	return true;
}

static __always_inline bool is_tunnel_source(const struct packet *outer)
{
	if (outer->version == 4)
		return is_tunnel_source4(outer->source.words[0]);
	for (__u32 i = 0; i < MAX_TUNNEL_SOURCES && i < settings.tunnel_source6_count; i++)
		if (is_within(outer->source, &settings.tunnel_sources6[i]))
			return true;
	return false;
}

// Takes the outer header off, with its options. Returns false when the kernel refuses.
static __always_inline bool take_out(struct __sk_buff *skb, const struct packet *outer)
{
	__s32 header_length = outer->l4 - outer->l3;

	if (bpf_skb_adjust_room(skb, -header_length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return false;
	// RFC 6040: congestion that the tunnel met must reach the receiver.
	if ((outer->tos & ECN_MASK) == ECN_CONGESTION_EXPERIENCED)
		bpf_skb_ecn_set_ce(skb);
	return true;
}
