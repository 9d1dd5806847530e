// Put an outer IPv4 header in front of the packet (IP in IP, RFC 2003) and address the frame to the next hop.
#pragma once
#include "layout.h"
#include "parse.h"

#define OUTER_TTL 64

// FORWARDED, or why not. 16 bits of the hash vary the outer source: routers and network cards behind us spread the
// tunnels by it.
inlined enum fate encapsulate(struct xdp_md *ctx, struct backend *backend, struct packet *packet, __u64 hash)
{
	__u32 source = settings.tunnel_source | ((__u32)hash & 0xffff0000);
	__u32 destination = backend->address;
	// The header as five words; the fields stand in network order in each.
	__u32 version_tos_length = bpf_htons(packet->length + IP_HEADER) << 16 | (__u32)packet->tos << 8 | IP_PLAIN;
	__u32 id_fragment = (__u32)bpf_htons(IP_DONT_FRAGMENT) << 16;
	__u32 ttl_protocol = OUTER_TTL | IPPROTO_IPIP << 8;
	__u64 sum = (__u64)version_tos_length + id_fragment + ttl_protocol + source + destination;

	if (bpf_xdp_adjust_head(ctx, -IP_HEADER))
		return DROPPED_ENCAPSULATION;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + IP_HEADER > end)
		return DROPPED_ENCAPSULATION;
	struct ethhdr *ethernet = data;
	__u32 *word = data + ETH_HLEN;
	__builtin_memcpy(ethernet, backend->destination_mac, 2 * ETH_ALEN);
	ethernet->h_proto = bpf_htons(ETH_P_IP);
	word[0] = version_tos_length;
	word[1] = id_fragment;
	word[2] = ttl_protocol | (__u32)fold_checksum(sum) << 16;
	word[3] = source;
	word[4] = destination;
	return FORWARDED;
}
