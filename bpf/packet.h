// What every packet program needs: inlining, byte order, the headers of a packet, the Internet checksum.
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define inlined static __always_inline

#define IP_HEADER 20            // without options
#define IP_PLAIN 0x45           // version 4, no options
#define IP_DONT_FRAGMENT 0x4000
#define IP_FRAGMENT_BITS 0x3fff // more fragments, and the offset
#define TCP_HEADER 20           // without options
#define TCP_FLAGS 13            // offset of the byte that holds them
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define UDP_HEADER 8

#define IPV6_HEADER 40
#define IPV6_MINIMUM_MTU 1280

// <linux/icmp.h> includes headers of the C library, which a BPF program does not have.
#define ICMP_HEADER 8
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_TIME_EXCEEDED 11

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 unused;
	__be16 mtu;
};

#define ICMPV6_UNREACHABLE 1
#define ICMPV6_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_ROUTER_SOLICITATION 133 // the first and the last message of neighbour discovery (RFC 4861)
#define ICMPV6_REDIRECT 137

// "Packet too big" (RFC 4443, section 3.2)
struct icmpv6_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 mtu;
};

// Fold a sum of 16-bit or 32-bit words into the Internet checksum (RFC 1071).
inlined __u16 fold_checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}
