// Put an outer header in front of the packet (in IPv4: RFC 2003, RFC 4213; in IPv6: RFC 2473, without options) and address
// the frame to the next hop. Which family the tunnel is of, the backend's address says, whatever the packet is.
#pragma once
#include "layout.h"
#include "parse.h"

#define OUTER_TTL 64
#define FLOW_LABEL 0xfffff // 20 bits

inlined __u8 inner_protocol(struct packet *packet)
{
	return packet->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

inlined void write_ethernet(struct ethhdr *ethernet, struct backend *backend, __be16 type)
{
	__builtin_memcpy(ethernet, backend->destination_mac, 2 * ETH_ALEN);
	ethernet->h_proto = type;
}

// FORWARDED, or why not. 32 bits of the hash vary the outer source, and 20 others the flow label (RFC 6438).
inlined enum fate encapsulate_in_ipv6(struct xdp_md *ctx, struct backend *backend, struct packet *packet, __u64 hash)
{
	__u32 label = hash >> 32 & FLOW_LABEL;

	if (bpf_xdp_adjust_head(ctx, -IPV6_HEADER))
		return DROPPED_ENCAPSULATION;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + IPV6_HEADER > end)
		return DROPPED_ENCAPSULATION;
	__u32 *word = data + ETH_HLEN;
	write_ethernet(data, backend, bpf_htons(ETH_P_IPV6));
	word[0] = bpf_htonl(6u << 28 | (__u32)packet->tos << 20 | label);
	word[1] = bpf_htons(packet->length) | (__u32)inner_protocol(packet) << 16 | OUTER_TTL << 24;
	for (int i = 0; i < 3; i++)
		word[2 + i] = settings.tunnel_source_v6[i];
	word[5] = (__u32)hash;
	__builtin_memcpy(&word[6], backend->address, 16);
	return FORWARDED;
}

// FORWARDED, or why not. 16 bits of the hash vary the outer source: routers and network cards behind us spread the
// tunnels by it.
inlined enum fate encapsulate_in_ipv4(struct xdp_md *ctx, struct backend *backend, struct packet *packet, __u64 hash)
{
	__u32 source = settings.tunnel_source | ((__u32)hash & 0xffff0000);
	__u32 destination = backend->address[0];
	// The header as five words; the fields stand in network order in each.
	__u32 version_tos_length = bpf_htons(packet->length + IP_HEADER) << 16 | (__u32)packet->tos << 8 | IP_PLAIN;
	__u32 id_fragment = (__u32)bpf_htons(IP_DONT_FRAGMENT) << 16;
	__u32 ttl_protocol = OUTER_TTL | (__u32)inner_protocol(packet) << 8;
	__u64 sum = (__u64)version_tos_length + id_fragment + ttl_protocol + source + destination;

	if (bpf_xdp_adjust_head(ctx, -IP_HEADER))
		return DROPPED_ENCAPSULATION;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + IP_HEADER > end)
		return DROPPED_ENCAPSULATION;
	__u32 *word = data + ETH_HLEN;
	write_ethernet(data, backend, bpf_htons(ETH_P_IP));
	word[0] = version_tos_length;
	word[1] = id_fragment;
	word[2] = ttl_protocol | (__u32)fold_checksum(sum) << 16;
	word[3] = source;
	word[4] = destination;
	return FORWARDED;
}

inlined enum fate encapsulate(struct xdp_md *ctx, struct backend *backend, struct packet *packet, __u64 hash)
{
	if (backend->family == 6)
		return encapsulate_in_ipv6(ctx, backend, packet, hash);
	return encapsulate_in_ipv4(ctx, backend, packet, hash);
}

inlined __u32 header_of(struct packet *packet)
{
	return packet->is_ipv6 ? IPV6_HEADER : IP_HEADER;
}

// Whether packets of this family can go to one backend in a header for it, and from there in one for the other:
// hypervisors open tunnels of their packet's family only.
inlined bool are_of_its_family(struct backend *first, struct backend *second, struct packet *packet)
{
	__u8 family = packet->is_ipv6 ? 6 : 4;

	return first->family == family && second->family == family;
}

// The second one's header is the inner one. False when there is no room in front of the frame. Not inlined, because it
// is rare; nor does it take the packet's address, which would keep all packets out of registers.
static __noinline bool encapsulate_twice(struct xdp_md *ctx, struct backend *first, struct backend *second, __u64 hash,
					 __u64 length_tos_family)
{
	struct packet packet = {
		.length = length_tos_family >> 32,
		.tos = length_tos_family >> 8,
		.is_ipv6 = length_tos_family & 1,
	};

	if (encapsulate(ctx, second, &packet, hash) != FORWARDED)
		return false;
	packet.length += header_of(&packet);
	return encapsulate(ctx, first, &packet, hash) == FORWARDED;
}

inlined bool give_second_chance(struct xdp_md *ctx, struct backend *first, struct backend *second,
				struct packet *packet, __u64 hash)
{
	__u64 length_tos_family = (__u64)packet->length << 32 | (__u32)packet->tos << 8 | packet->is_ipv6;

	return encapsulate_twice(ctx, first, second, hash, length_tos_family);
}
