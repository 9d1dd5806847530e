// ICMP errors quote the packet they complain about: the quote must be translated like the packet was, or the socket it
// belongs to never learns of it (path MTU discovery, "port unreachable").
#pragma once

#include "hypervisor_packet.h"
#include "hypervisor_rewrite.h"

#define ICMP_DESTINATION_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_HEADER_LENGTH 8 // of ICMPv6 too

static __always_inline bool is_icmp_error(int version, __u8 type)
{
	if (version == 6) // RFC 4443: unreachable, too big, time exceeded, parameter problem
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DESTINATION_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

// Returns false when the packet is no ICMP error that quotes the ports of a TCP or UDP packet.
static __always_inline bool parse_quote(struct __sk_buff *skb, const struct packet *error, struct packet *quote)
{
	__u8 type;

	if (error->protocol != icmp_of(error->version) || bpf_skb_load_bytes(skb, error->l4, &type, sizeof(type)) < 0)
		return false;
	return is_icmp_error(error->version, type) &&
	       parse(skb, error->l4 + ICMP_HEADER_LENGTH, error->version, quote) && has_ports(quote);
}

// RFC 1624: the checksum after 32 bits under it changed. Byte order does not matter.
static __always_inline __u16 checksum_after(__u16 checksum, __u32 from, __u32 to)
{
	__u32 sum = (__u16)~checksum;

	sum += (__u16)~from + (__u16)(~from >> 16) + (__u16)to + (__u16)(to >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline bool patch16(struct __sk_buff *skb, __u32 checksum, __u32 offset, __u16 from, __u16 to)
{
	return bpf_l4_csum_replace(skb, checksum, from, to, 2) == 0 &&
	       bpf_skb_store_bytes(skb, offset, &to, sizeof(to), 0) == 0;
}

static __always_inline bool patch32(struct __sk_buff *skb, __u32 checksum, __u32 offset, __u32 from, __u32 to)
{
	return bpf_l4_csum_replace(skb, checksum, from, to, 4) == 0 &&
	       bpf_skb_store_bytes(skb, offset, &to, sizeof(to), 0) == 0;
}

static __always_inline bool patch_quoted_address(struct __sk_buff *skb, __u32 icmp_checksum, const struct packet *quote,
						 enum side side, struct address to)
{
	struct address from = address_of(quote, side);

	for (int i = 0; i < words_of(quote->version); i++)
		if (!patch32(skb, icmp_checksum, address_offset(quote, side) + 4 * i, from.words[i], to.words[i]))
			return false;
	return true;
}

// The checksum of the quoted IP header, which IPv6 lacks.
static __always_inline bool patch_quoted_l3_checksum(struct __sk_buff *skb, __u32 icmp_checksum,
						     const struct packet *quote, __be32 from, __be32 to)
{
	__u32 offset = quote->l3 + offsetof(struct iphdr, check);
	__u16 old;

	if (quote->version == 6)
		return true;
	return bpf_skb_load_bytes(skb, offset, &old, sizeof(old)) == 0 &&
	       patch16(skb, icmp_checksum, offset, old, checksum_after(old, from, to));
}

// The quoted TCP or UDP checksum; many quotes end before it (RFC 792 asks for 8 bytes only) and UDP may have none.
static __always_inline bool patch_quoted_l4_checksum(struct __sk_buff *skb, __u32 icmp_checksum,
						     const struct packet *quote, struct address from,
						     struct address to, __be16 from_port, __be16 to_port)
{
	__u32 offset = l4_checksum_offset(quote);
	__u16 old, new;

	if (bpf_skb_load_bytes(skb, offset, &old, sizeof(old)) < 0 || (quote->protocol == IPPROTO_UDP && !old))
		return true;
	new = checksum_after(old, from_port, to_port);
	for (int i = 0; i < words_of(quote->version); i++)
		new = checksum_after(new, from.words[i], to.words[i]);
	return patch16(skb, icmp_checksum, offset, old, new);
}

// Translates one side of the quote, with its checksums and that of the ICMP message.
static __always_inline bool rewrite_quote(struct __sk_buff *skb, const struct packet *error, const struct packet *quote,
					  enum side side, struct address address, __be16 port)
{
	__be16 from_port = side == SOURCE ? quote->source_port : quote->destination_port;
	struct address from = address_of(quote, side);
	__u32 icmp_checksum = l4_checksum_offset(error);

	return patch_quoted_l3_checksum(skb, icmp_checksum, quote, from.words[0], address.words[0]) &&
	       patch_quoted_address(skb, icmp_checksum, quote, side, address) &&
	       patch16(skb, icmp_checksum, port_offset(quote, side), from_port, port) &&
	       patch_quoted_l4_checksum(skb, icmp_checksum, quote, from, address, from_port, port);
}

// Translates one side of the packet that carries the quote. Unlike ICMP's, ICMPv6's checksum covers the addresses.
static __always_inline bool rewrite_error(struct __sk_buff *skb, const struct packet *error, enum side side,
					  struct address address)
{
	return (error->version == 4 || rewrite_pseudo_header(skb, error, side, address, 0)) &&
	       rewrite_address(skb, error, side, address);
}
