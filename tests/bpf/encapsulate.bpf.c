// Plays the LB node in tests: on the client's way out, puts what goes to a service into a tunnel to its instance.
// Unlike a real LB node it does so before segmentation, so that GSO packets and unfinished checksums reach the tunnel.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct service {
	__be32 vip;
	__be16 port;
	__u16 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct service);
	__type(value, __be32);
} instances SEC(".maps");

struct service6 {
	struct in6_addr vip;
	__be16 port;
	__u16 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct service6);
	__type(value, struct in6_addr);
} targets6 SEC(".maps");

// 10.99.1.2
const volatile __be32 tunnel_source = bpf_htonl(0x0a630102);

static __always_inline __u16 checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline int encapsulate4(struct __sk_buff *skb)
{
	struct service service = {};
	struct iphdr ip;
	__be32 *instance;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_OK;
	service.vip = ip.daddr;
	bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip) + 2, &service.port, sizeof(service.port));
	instance = bpf_map_lookup_elem(&instances, &service);
	if (!instance)
		return TC_ACT_OK;
	ip.tot_len = bpf_htons(bpf_ntohs(ip.tot_len) + sizeof(ip));
	ip.protocol = IPPROTO_IPIP;
	ip.saddr = tunnel_source;
	ip.daddr = *instance;
	ip.check = 0;
	ip.check = checksum(&ip);
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

// From 2001:db8:99::1:2.
static __always_inline int encapsulate6(struct __sk_buff *skb)
{
	const struct in6_addr tunnel_source6 = { .in6_u.u6_addr32 = { bpf_htonl(0x20010db8), bpf_htonl(0x00990000), 0,
								      bpf_htonl(0x00010002) } };
	struct service6 service = {};
	struct ipv6hdr ip;
	struct in6_addr *instance;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_OK;
	service.vip = ip.daddr;
	bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip) + 2, &service.port, sizeof(service.port));
	instance = bpf_map_lookup_elem(&targets6, &service);
	if (!instance)
		return TC_ACT_OK;
	ip.payload_len = bpf_htons(bpf_ntohs(ip.payload_len) + sizeof(ip));
	ip.nexthdr = IPPROTO_IPV6;
	ip.saddr = tunnel_source6;
	ip.daddr = *instance;
	if (bpf_skb_adjust_room(skb, sizeof(ip), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc")
int encapsulate(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return encapsulate4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return encapsulate6(skb);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
