// From an IPv6 frame to the flow it belongs to, as parse.h does for IPv4. A packet with extension headers is not balanced.
#pragma once
#include "parse.h"

// Both in network order.
struct ends_v6 {
	__u64 client[2];
	__u64 vip[2];
};

inlined void copy_address(__u64 *to, const void *from)
{
	__builtin_memcpy(to, from, 16);
}

// An error quotes the packet it is about: here one from the VIP to the client, so the flow is read backwards.
inlined enum fate parse_icmpv6(void *icmp, void *end, struct packet *packet, struct ends_v6 *ends)
{
	struct ipv6hdr *quoted = icmp + ICMP_HEADER;
	__u8 type = *(__u8 *)icmp;
	__u64 vip[2];

	if (type >= ICMPV6_ROUTER_SOLICITATION && type <= ICMPV6_REDIRECT)
		return PASSED_NDP;
	if (type < ICMPV6_UNREACHABLE || type > ICMPV6_TIME_EXCEEDED)
		return PASSED_ICMP;
	if ((void *)quoted + IPV6_HEADER + 8 > end)
		return PASSED_TOO_SHORT;
	copy_address(vip, &quoted->saddr);
	if (vip[0] != ends->vip[0] || vip[1] != ends->vip[1] || *(__u8 *)quoted >> 4 != 6)
		return PASSED_ICMP;
	if (quoted->nexthdr != IPPROTO_TCP && quoted->nexthdr != IPPROTO_UDP)
		return PASSED_ICMP;
	__u32 ports = *(__u32 *)((void *)quoted + IPV6_HEADER);
	packet->ports = ports >> 16 | ports << 16;
	copy_address(ends->client, &quoted->daddr);
	packet->protocol = quoted->nexthdr;
	packet->is_error = true;
	packet->may_answer = false;
	return FORWARDED;
}

inlined enum fate parse_next_header(void *transport, void *end, struct packet *packet, struct ends_v6 *ends)
{
	switch (packet->protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return PASSED_IP_OPTIONS;
	case IPPROTO_FRAGMENT:
		return PASSED_FRAGMENT;
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMPV6:
		break;
	default:
		return PASSED_NOT_TCP_UDP;
	}
	if (transport + 8 > end)
		return PASSED_TOO_SHORT;
	if (packet->protocol == IPPROTO_ICMPV6)
		return parse_icmpv6(transport, end, packet, ends);
	return parse_ports(transport, end, packet);
}

// FORWARDED when the packet may belong to a service: `packet` (but for its client) and `ends` are filled in then.
inlined enum fate parse_v6(void *data, void *end, struct packet *packet, struct ends_v6 *ends)
{
	struct ipv6hdr *ip = data + ETH_HLEN;

	if ((void *)ip + IPV6_HEADER > end)
		return PASSED_TOO_SHORT;
	if (*(__u8 *)ip >> 4 != 6)
		return PASSED_NOT_IP;
	__u64 frame = end - data;
	packet->length = IPV6_HEADER + bpf_ntohs(ip->payload_len);
	if (frame < ETH_HLEN + (__u64)packet->length)
		return PASSED_TOO_SHORT;
	copy_address(ends->client, &ip->saddr);
	copy_address(ends->vip, &ip->daddr);
	packet->is_ipv6 = true;
	packet->protocol = ip->nexthdr;
	packet->tos = bpf_ntohs(*(__u16 *)ip) >> 4;
	packet->may_answer = true;
	return parse_next_header((void *)ip + IPV6_HEADER, end, packet, ends);
}
