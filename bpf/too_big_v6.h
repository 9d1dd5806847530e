// Answer an IPv6 packet that would not fit the tunnel with ICMPv6 "packet too big" (RFC 4443, section 3.2), in the VIP's
// name. It quotes as much as fits the smallest MTU there is, as the RFC wants it.
#pragma once
#include "counters.h"
#include "packet.h"

#define ANSWER_V6 (IPV6_HEADER + ICMP_HEADER)
#define QUOTED_V6 (IPV6_MINIMUM_MTU - ANSWER_V6)
#define ADDRESSES_V6 8 // offset of the source address in the header
#define CHECKSUM_STEP 512 // the most that bpf_csum_diff takes

// The sum over the addresses and everything behind the header: what the checksum covers, but for length and protocol.
inlined __u32 sum_answer_v6(void *ip)
{
	__u32 sum = 0;
	__u32 offset;

#pragma unroll
	for (offset = ADDRESSES_V6; offset + CHECKSUM_STEP <= IPV6_MINIMUM_MTU; offset += CHECKSUM_STEP)
		sum = bpf_csum_diff(0, 0, ip + offset, CHECKSUM_STEP, sum);
	return bpf_csum_diff(0, 0, ip + offset, (IPV6_MINIMUM_MTU - ADDRESSES_V6) % CHECKSUM_STEP, sum);
}

inlined void write_answer_v6(struct ipv6hdr *ip, __u32 mtu)
{
	struct ipv6hdr *quoted = (void *)ip + ANSWER_V6;
	struct icmpv6_header *icmp = (void *)ip + IPV6_HEADER;

	*(__u32 *)ip = bpf_htonl(6u << 28);
	ip->payload_len = bpf_htons(ICMP_HEADER + QUOTED_V6);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = 64;
	__builtin_memcpy(&ip->saddr, &quoted->daddr, 16);
	__builtin_memcpy(&ip->daddr, &quoted->saddr, 16);
	icmp->type = ICMPV6_TOO_BIG;
	icmp->code = 0;
	icmp->checksum = 0;
	icmp->mtu = bpf_htonl(mtu);
	icmp->checksum = fold_checksum((__u64)sum_answer_v6(ip) + ip->payload_len + bpf_htons(IPPROTO_ICMPV6));
}

// Cut the packet down to what is quoted, then write the answer in front of it.
static __noinline int answer_too_big_v6(struct xdp_md *ctx, __u32 mtu)
{
	__u64 frame = ctx->data_end - ctx->data;
	int cut = (int)frame - (ETH_HLEN + QUOTED_V6);

	if (cut < 0 || bpf_xdp_adjust_tail(ctx, -cut) || bpf_xdp_adjust_head(ctx, -ANSWER_V6))
		return DROPPED_TOO_BIG;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + IPV6_MINIMUM_MTU > end)
		return DROPPED_TOO_BIG;
	struct ethhdr *answer = data, *received = data + ANSWER_V6;
	__builtin_memcpy(answer->h_dest, received->h_source, ETH_ALEN);
	__builtin_memcpy(answer->h_source, received->h_dest, ETH_ALEN);
	answer->h_proto = bpf_htons(ETH_P_IPV6);
	write_answer_v6(data + ETH_HLEN, mtu);
	return TOO_BIG_ANSWERED;
}
