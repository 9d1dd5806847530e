// Answer a packet that would not fit the tunnel with ICMP "fragmentation needed" (RFC 1191), in the VIP's name.
#pragma once
#include "counters.h"
#include "packet.h"

#define QUOTED (IP_HEADER + 8)  // what the answer quotes: the IP header and 8 bytes, enough to know the flow
#define ANSWER (IP_HEADER + ICMP_HEADER)

inlined void write_answer(struct iphdr *ip, __u16 mtu)
{
	struct iphdr *quoted = (void *)ip + ANSWER;
	struct icmp_header *icmp = (void *)ip + IP_HEADER;

	*(__u32 *)ip = bpf_htonl(IP_PLAIN << 24 | (ANSWER + QUOTED));
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DONT_FRAGMENT);
	ip->ttl = 64;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	ip->saddr = quoted->daddr;
	ip->daddr = quoted->saddr;
	ip->check = fold_checksum((__u32)bpf_csum_diff(0, 0, (__be32 *)ip, IP_HEADER, 0));
	icmp->type = ICMP_UNREACHABLE;
	icmp->code = ICMP_FRAGMENTATION_NEEDED;
	icmp->checksum = 0;
	icmp->unused = 0;
	icmp->mtu = bpf_htons(mtu);
	icmp->checksum = fold_checksum((__u32)bpf_csum_diff(0, 0, (__be32 *)icmp, ICMP_HEADER + QUOTED, 0));
}

// Cut the packet down to what is quoted, then write the answer in front of it.
static __noinline int answer_too_big(struct xdp_md *ctx, __u32 mtu)
{
	__u64 frame = ctx->data_end - ctx->data;
	int cut = (int)frame - (ETH_HLEN + QUOTED);

	if (cut < 0 || bpf_xdp_adjust_tail(ctx, -cut) || bpf_xdp_adjust_head(ctx, -ANSWER))
		return DROPPED_TOO_BIG;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + ANSWER + QUOTED > end)
		return DROPPED_TOO_BIG;
	struct ethhdr *answer = data, *received = data + ANSWER;
	__builtin_memcpy(answer->h_dest, received->h_source, ETH_ALEN);
	__builtin_memcpy(answer->h_source, received->h_dest, ETH_ALEN);
	answer->h_proto = bpf_htons(ETH_P_IP);
	write_answer(data + ETH_HLEN, mtu);
	return TOO_BIG_ANSWERED;
}
