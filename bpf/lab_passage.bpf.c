// Counts what passes a lab's router, by where it comes from (`src/bascule/lab/passage.py`). A tc program sees packets on
// every kernel that runs us; nftables and iptables are each missing from some.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// In the order of the fields of `Passage`.
enum counter {
	REQUESTS_TO_LB_NODES,
	TUNNELLED_FROM_LB_NODES,
	REPLIES_FROM_LB_NODES,
	REPLIES_FROM_HYPERVISORS,
	COUNTERS,
};

struct amount {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, struct amount);
} passage SEC(".maps");

const volatile struct {
	__be32 network4[1];
	__be32 mask4[1];
	__be32 network6[4];
	__be32 mask6[4];
} vips = {};

struct packet {
	bool from_vip;
	bool to_vip;
	bool tunnelled;
};

static __always_inline bool within(const __be32 *address, const volatile __be32 *network, const volatile __be32 *mask,
				   int words)
{
	for (int i = 0; i < words; i++)
		if ((address[i] & mask[i]) != network[i])
			return false;
	return true;
}

// IPv4 or IPv6 in either.
static __always_inline bool is_tunnel(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;
	struct ipv6hdr ip6;

	if (skb->protocol == bpf_htons(ETH_P_IP) && !bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) {
		packet->from_vip = within(&ip.saddr, vips.network4, vips.mask4, 1);
		packet->to_vip = within(&ip.daddr, vips.network4, vips.mask4, 1);
		packet->tunnelled = is_tunnel(ip.protocol);
		return true;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && !bpf_skb_load_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6))) {
		packet->from_vip = within(ip6.saddr.s6_addr32, vips.network6, vips.mask6, 4);
		packet->to_vip = within(ip6.daddr.s6_addr32, vips.network6, vips.mask6, 4);
		packet->tunnelled = is_tunnel(ip6.nexthdr);
		return true;
	}
	return false;
}

static __always_inline void count(struct __sk_buff *skb, enum counter which)
{
	__u32 key = which;
	struct amount *amount = bpf_map_lookup_elem(&passage, &key);

	if (amount) {
		amount->packets++;
		amount->bytes += skb->len - ETH_HLEN;
	}
}

SEC("tc")
int from_client(struct __sk_buff *skb)
{
	struct packet packet;

	if (read_packet(skb, &packet) && packet.to_vip)
		count(skb, REQUESTS_TO_LB_NODES);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int from_lb_node(struct __sk_buff *skb)
{
	struct packet packet;

	if (!read_packet(skb, &packet))
		return TC_ACT_UNSPEC;
	if (packet.from_vip)
		count(skb, REPLIES_FROM_LB_NODES);
	if (packet.tunnelled)
		count(skb, TUNNELLED_FROM_LB_NODES);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int from_hypervisor(struct __sk_buff *skb)
{
	struct packet packet;

	if (read_packet(skb, &packet) && packet.from_vip)
		count(skb, REPLIES_FROM_HYPERVISORS);
	return TC_ACT_UNSPEC;
}

/* For a machine that hangs: its link is up, and nothing passes it. */
SEC("tc")
int nothing_passes(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
