// What the hypervisor's programs share with user space: maps, counters (settings are in hypervisor_tunnel.h).
// `src/bascule/forwarding/ebpf/layout.py` packs the same bytes; a change here raises its LAYOUT_VERSION.
// Addresses and ports are in network order everywhere.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "hypervisor_packet.h"

// Keys as the programs know them, and as the maps of IPv6 have them.
struct rule_key {
	struct address instance;
	struct address vip;
	__be16 port;
	__u8 protocol;
	__u8 zero;
};

// A connection as the instance sees it: the reply has nothing else to be recognised by.
struct flow_key {
	struct address client;
	struct address instance;
	__be16 client_port;
	__be16 target_port;
	__u8 protocol;
	__u8 zero[3];
};

struct flow {
	struct address vip;
	__be16 port;
	__u16 age; // as in hypervisor_age.h
};

// Only the first fragment of a reply carries ports; the others are recognised by these (RFC 791, RFC 8200).
struct fragment_key {
	struct address source;
	struct address destination;
	__be32 id;
	__u8 protocol;
	__u8 zero[3];
};

// The same for IPv4, whose maps would be slower with more bytes to hash.
struct rule_key4 {
	__be32 instance;
	__be32 vip;
	__be16 port;
	__u8 protocol;
	__u8 zero;
};

struct flow_key4 {
	__be32 client;
	__be32 instance;
	__be16 client_port;
	__be16 target_port;
	__u8 protocol;
	__u8 zero[3];
};

struct flow4 {
	__be32 vip;
	__be16 port;
	__u16 age;
};

struct fragment_key4 {
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 zero;
};

struct rule {
	__be16 target_port;
};

#define MAP(map_type, entries, key_type, value_type)                                                                      \
	struct {                                                                                                           \
		__uint(type, map_type);                                                                                    \
		__uint(max_entries, entries);                                                                              \
		__type(key, key_type);                                                                                     \
		__type(value, value_type);                                                                                 \
	}

// The value is the interface that leads to the instance, 0 while there is none; for user space.
MAP(BPF_MAP_TYPE_HASH, 16384, __be32, __u32) instances SEC(".maps");
MAP(BPF_MAP_TYPE_HASH, 16384, struct address, __u32) instances6 SEC(".maps");
MAP(BPF_MAP_TYPE_HASH, 65536, struct rule_key4, struct rule) rules SEC(".maps");
MAP(BPF_MAP_TYPE_HASH, 65536, struct rule_key, struct rule) rules6 SEC(".maps");
MAP(BPF_MAP_TYPE_LRU_HASH, 262144, struct flow_key4, struct flow4) flows SEC(".maps");
MAP(BPF_MAP_TYPE_LRU_HASH, 262144, struct flow_key, struct flow) flows6 SEC(".maps");
// The value is the VIP.
MAP(BPF_MAP_TYPE_LRU_HASH, 4096, struct fragment_key4, __be32) fragments SEC(".maps");
MAP(BPF_MAP_TYPE_LRU_HASH, 4096, struct fragment_key, struct address) fragments6 SEC(".maps");

// What user space attached, so that a later process knows: interface -> 1 (uplink) or 2 (instance).
MAP(BPF_MAP_TYPE_HASH, 16384, __u32, __u32) attachments SEC(".maps");

enum counter {
	DECAPSULATED,           // the tunnel's header was taken off
	TRANSLATED,             // VIP:port became instance:target port
	REPLIED,                // instance:target port became VIP:port again
	ICMP_TRANSLATED,        // an ICMP error about a translated packet, in either direction
	MSS_CLAMPED,            // a SYN+ACK offered more than fits the tunnel
	DIRECT_FLOW_FORGOTTEN,  // a direct connection began on the ports of an old flow
	SECOND_CHANCE_KEPT,     // of two instances that might have the flow it is the first
	SECOND_CHANCE_PASSED,   // it is not the first: sent on to the second
	DROPPED_NO_RULE,        // decapsulated, but for no service: forwarding it would make it circle
	DROPPED_MALFORMED,      // a header is cut off, or says what cannot be
	DROPPED_FRAGMENT,       // of a tunnelled packet: only a first fragment has ports
	PASSED_FOREIGN_TUNNEL,  // to the kernel: a tunnel from elsewhere than the LB nodes
	PASSED_OTHER,           // to the kernel: none of our business
	COUNTERS,
};

#include "hypervisor_counters.h"
