// Read IPv4 and IPv6 packets. Everything goes through helpers, so that packets whose bytes are not in one piece, GSO
// packets and checksums that the device is still to fill in need no care of ours.
//
// Every function that depends on the family takes the version from its packet. It is a constant wherever all is inlined,
// so that neither family pays for the other.
#pragma once

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TCP_SEQUENCE_OFFSET 4
#define TCP_FLAG_FIN 0x01
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10
#define FRAGMENT_OFFSET_MASK 0x1fff
#define MORE_FRAGMENTS 0x2000
#define FRAGMENT6_OFFSET_MASK 0xfff8
#define MORE_FRAGMENTS6 0x0001
#define MAX_EXTENSIONS 4

struct address {
	__be32 words[4]; // IPv4 has the first, the others are 0
};

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port; // 0 without TCP or UDP, and in fragments but the first
	__be16 destination_port;
	__be32 id;
	__u8 version;  // 4 or 6
	__u8 protocol; // of what follows IPv6's extension headers too
	__u8 tos;
	bool first_fragment;
	bool later_fragment;
	__u32 l3; // offset of the IP header
	__u32 l4; // offset of what follows it
};

// What else of a TCP packet matters.
struct segment {
	__u32 sequence; // of its first byte
	__u8 flags;
};

enum side { SOURCE, DESTINATION };

static __always_inline bool is_same(struct address one, struct address other)
{
	return one.words[0] == other.words[0] && one.words[1] == other.words[1] && one.words[2] == other.words[2] &&
	       one.words[3] == other.words[3];
}

static __always_inline int words_of(int version)
{
	return version == 6 ? 4 : 1;
}

static __always_inline int icmp_of(int version)
{
	return version == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

// A packet of the same family within (RFC 2003, RFC 2473).
static __always_inline int tunnel_of(int version)
{
	return version == 6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

static __always_inline bool has_ports(const struct packet *packet)
{
	return (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) && !packet->later_fragment;
}

static __always_inline bool parse_header4(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return false;
	packet->source = (struct address){ .words = { ip.saddr } };
	packet->destination = (struct address){ .words = { ip.daddr } };
	packet->id = ip.id;
	packet->protocol = ip.protocol;
	packet->tos = ip.tos;
	packet->later_fragment = ip.frag_off & bpf_htons(FRAGMENT_OFFSET_MASK);
	packet->first_fragment = !packet->later_fragment && ip.frag_off & bpf_htons(MORE_FRAGMENTS);
	packet->l4 = offset + ip.ihl * 4;
	return true;
}

// Where in a packet the next header begins, and what earlier ones told.
struct walk {
	__be32 id;
	__u32 l4;
	__u8 protocol;
	bool first_fragment;
	bool later_fragment;
};

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_FRAGMENT;
}

// Steps over the extension header at l4 (RFC 8200): options, a tunnel's encapsulation limit among them, or a fragment's.
static __always_inline bool step_over(struct __sk_buff *skb, struct walk *walk)
{
	struct {
		__u8 next;
		__u8 length; // of options, in 8 bytes beyond the first 8
		__be16 fragment;
		__be32 id;
	} extension;

	if (bpf_skb_load_bytes(skb, walk->l4, &extension, sizeof(extension)) < 0)
		return false;
	if (walk->protocol == IPPROTO_FRAGMENT) {
		walk->id = extension.id;
		walk->later_fragment = extension.fragment & bpf_htons(FRAGMENT6_OFFSET_MASK);
		walk->first_fragment = !walk->later_fragment && extension.fragment & bpf_htons(MORE_FRAGMENTS6);
		walk->l4 += sizeof(extension);
	} else {
		walk->l4 += (extension.length + 1) * 8;
	}
	walk->protocol = extension.next;
	return true;
}

// A function of its own: inlined, its ways multiply with those of all that follows, more than Linux 6.1 verifies. It is
// static because a kernel without BTF of its own cannot tell the context of a global function.
// A routing header ends the walk: with one, the final destination is not the one that the header names.
static __attribute__((noinline)) int step_over_all(struct __sk_buff *skb, struct walk *walk)
{
	if (!walk)
		return 0;
	for (int i = 0; i < MAX_EXTENSIONS && !walk->later_fragment && is_extension(walk->protocol); i++)
		if (!step_over(skb, walk))
			return 0;
	return 1;
}

static __always_inline bool parse_header6(struct __sk_buff *skb, __u32 offset, struct packet *packet)
{
	struct walk walk = {};
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0 || ip.version != 6)
		return false;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(ip.saddr));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(ip.daddr));
	packet->tos = ip.priority << 4 | ip.flow_lbl[0] >> 4;
	walk.protocol = ip.nexthdr;
	walk.l4 = offset + sizeof(ip);
	if (is_extension(walk.protocol) && !step_over_all(skb, &walk))
		return false;
	packet->id = walk.id;
	packet->protocol = walk.protocol;
	packet->first_fragment = walk.first_fragment;
	packet->later_fragment = walk.later_fragment;
	packet->l4 = walk.l4;
	return true;
}

// Returns false when this is not a whole header of that version with what must follow it.
static __always_inline bool parse(struct __sk_buff *skb, __u32 offset, int version, struct packet *packet)
{
	__be16 ports[2] = {};

	if (!(version == 6 ? parse_header6(skb, offset, packet) : parse_header4(skb, offset, packet)))
		return false;
	packet->version = version;
	packet->l3 = offset;
	if (has_ports(packet) && bpf_skb_load_bytes(skb, packet->l4, ports, sizeof(ports)) < 0)
		return false;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	return true;
}

// Untagged IP over Ethernet; the tag of a VLAN is never in the packet's bytes here.
static __always_inline bool parse_frame(struct __sk_buff *skb, int version, struct packet *packet)
{
	return !skb->vlan_present && parse(skb, ETH_HLEN, version, packet);
}

// Zeros unless the packet is TCP with a whole header.
static __always_inline struct segment segment_of(struct __sk_buff *skb, const struct packet *packet)
{
	struct {
		__be32 sequence;
		__be32 acknowledged;
		__u8 offset;
		__u8 flags;
	} __attribute__((packed)) header = {};

	if (packet->protocol == IPPROTO_TCP && has_ports(packet))
		bpf_skb_load_bytes(skb, packet->l4 + TCP_SEQUENCE_OFFSET, &header, sizeof(header));
	return (struct segment){ .sequence = bpf_ntohl(header.sequence), .flags = header.flags };
}
