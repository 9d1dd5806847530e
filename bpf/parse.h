// From a frame to the flow it belongs to. What cannot be balanced gets the fate that says why.
#pragma once
#include "counters.h"
#include "packet.h"

struct packet {
	__u64 client;    // what the hash takes in of the client's address: all of IPv4's, which is in the upper half
	__u32 address;   // the VIP, network order; IPv4 only
	__u32 ports;     // low half the client's port, high half the VIP's, both network order
	__u32 length;    // of the IP packet, bytes
	__u8 protocol;   // of the flow
	__u8 tos;        // or traffic class
	bool is_ipv6;
	bool opens;      // a TCP SYN without ACK
	bool is_error;   // an ICMP error about the flow, not a packet of it
	bool may_answer; // "fragmentation needed" may be sent back
};

inlined enum fate not_ip(__be16 ethernet_type)
{
	if (ethernet_type == bpf_htons(ETH_P_ARP))
		return PASSED_ARP;
	if (ethernet_type == bpf_htons(ETH_P_8021Q) || ethernet_type == bpf_htons(ETH_P_8021AD))
		return PASSED_VLAN;
	return PASSED_NOT_IP;
}

// An ICMP error quotes the packet it is about: here one from the VIP to the client, so the flow is read backwards.
inlined enum fate parse_error(void *icmp, void *end, struct packet *packet)
{
	struct iphdr *quoted = icmp + ICMP_HEADER;
	__u8 type = *(__u8 *)icmp;

	if (type != ICMP_UNREACHABLE && type != ICMP_TIME_EXCEEDED)
		return PASSED_ICMP;
	if ((void *)quoted + IP_HEADER + 8 > end)
		return PASSED_TOO_SHORT;
	if (*(__u8 *)quoted != IP_PLAIN || quoted->saddr != packet->address)
		return PASSED_ICMP;
	if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP)
		return PASSED_ICMP;
	__u32 ports = *(__u32 *)((void *)quoted + IP_HEADER);
	packet->ports = ports >> 16 | ports << 16;
	packet->client = (__u64)quoted->daddr << 32;
	packet->protocol = quoted->protocol;
	packet->is_error = true;
	packet->may_answer = false;
	return FORWARDED;
}

// The first 8 bytes are known to be there.
inlined enum fate parse_ports(void *transport, void *end, struct packet *packet)
{
	packet->ports = *(__u32 *)transport;
	if (packet->protocol == IPPROTO_TCP) {
		if (transport + TCP_HEADER > end)
			return PASSED_TOO_SHORT;
		packet->opens = (*(__u8 *)(transport + TCP_FLAGS) & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	}
	return FORWARDED;
}

inlined enum fate parse_transport(void *transport, void *end, struct packet *packet)
{
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_ICMP)
		return PASSED_NOT_TCP_UDP;
	if (transport + 8 > end)
		return PASSED_TOO_SHORT;
	if (packet->protocol == IPPROTO_ICMP)
		return parse_error(transport, end, packet);
	return parse_ports(transport, end, packet);
}

// FORWARDED when the packet may belong to a service: `packet` is filled in then.
inlined enum fate parse(void *data, void *end, struct packet *packet)
{
	struct iphdr *ip = data + ETH_HLEN;

	if ((void *)ip + IP_HEADER > end)
		return PASSED_TOO_SHORT;
	if (*(__u8 *)ip != IP_PLAIN)
		return *(__u8 *)ip >> 4 == 4 ? PASSED_IP_OPTIONS : PASSED_NOT_IP;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT_BITS))
		return PASSED_FRAGMENT;
	// 64-bit arithmetic: the verifier refuses the 32-bit subtraction of packet pointers that clang would make of an int.
	__u64 frame = end - data;
	packet->length = bpf_ntohs(ip->tot_len);
	if (frame < ETH_HLEN + (__u64)packet->length)
		return PASSED_TOO_SHORT;
	packet->client = (__u64)ip->saddr << 32;
	packet->address = ip->daddr;
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->may_answer = ip->frag_off & bpf_htons(IP_DONT_FRAGMENT);
	return parse_transport((void *)ip + IP_HEADER, end, packet);
}
