// Counts what passes a lab's router, by where it comes from (`src/bascule/lab/passage.py`). A tc program sees packets on
// every kernel that runs us; nftables and iptables are each missing from some.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
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
	__be32 network;
	__be32 mask;
} vips = {};

static __always_inline bool is_vip(__be32 address)
{
	return (address & vips.mask) == vips.network;
}

static __always_inline bool read_header(struct __sk_buff *skb, struct iphdr *ip)
{
	return skb->protocol == bpf_htons(ETH_P_IP) && !bpf_skb_load_bytes(skb, ETH_HLEN, ip, sizeof(*ip));
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
	struct iphdr ip;

	if (read_header(skb, &ip) && is_vip(ip.daddr))
		count(skb, REQUESTS_TO_LB_NODES);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int from_lb_node(struct __sk_buff *skb)
{
	struct iphdr ip;

	if (!read_header(skb, &ip))
		return TC_ACT_UNSPEC;
	if (is_vip(ip.saddr))
		count(skb, REPLIES_FROM_LB_NODES);
	if (ip.protocol == IPPROTO_IPIP)
		count(skb, TUNNELLED_FROM_LB_NODES);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int from_hypervisor(struct __sk_buff *skb)
{
	struct iphdr ip;

	if (read_header(skb, &ip) && is_vip(ip.saddr))
		count(skb, REPLIES_FROM_HYPERVISORS);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
