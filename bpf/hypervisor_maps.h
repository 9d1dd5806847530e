// What the hypervisor's programs share with user space: maps, counters (settings are in hypervisor_tunnel.h).
// `src/bascule/forwarding/ebpf/layout.py` packs the same bytes; a change here raises its LAYOUT_VERSION.
// Addresses and ports are in network order everywhere.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct rule_key {
	__be32 instance;
	__be32 vip;
	__be16 port;
	__u8 protocol;
	__u8 zero;
};

struct rule {
	__be16 target_port;
};

// A connection as the instance sees it: the reply has nothing else to be recognised by.
struct flow_key {
	__be32 client;
	__be32 instance;
	__be16 client_port;
	__be16 target_port;
	__u8 protocol;
	__u8 zero[3];
};

struct flow {
	__be32 vip;
	__be16 port;
	__u16 zero;
};

// Only the first fragment of a reply carries ports; the others are recognised by these (RFC 791).
struct fragment_key {
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, __u32); // the interface that leads to the instance, 0 while there is none; for user space
} instances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct rule_key);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, __be32); // VIP
} fragments SEC(".maps");

// What user space attached, so that a later process knows: interface -> 1 (uplink) or 2 (instance).
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} attachments SEC(".maps");

enum counter {
	DECAPSULATED,           // the tunnel's header was taken off
	TRANSLATED,             // VIP:port became instance:target port
	REPLIED,                // instance:target port became VIP:port again
	ICMP_TRANSLATED,        // an ICMP error about a translated packet, in either direction
	MSS_CLAMPED,            // a SYN+ACK offered more than fits the tunnel
	DIRECT_FLOW_FORGOTTEN,  // a direct connection began on the ports of an old flow
	DROPPED_NO_RULE,        // decapsulated, but for no service: forwarding it would make it circle
	DROPPED_MALFORMED,      // a header is cut off, or says what cannot be
	DROPPED_FRAGMENT,       // of a tunnelled packet: only a first fragment has ports
	PASSED_FOREIGN_TUNNEL,  // to the kernel: a tunnel from elsewhere than the LB nodes
	PASSED_OTHER,           // to the kernel: none of our business
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(enum counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		(*value)++;
}
