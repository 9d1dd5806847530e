// What the program that only decapsulates shares with user space; `src/bascule/forwarding/netfilter/uplinks.py` has the
// other side.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "hypervisor_packet.h"

// The value is the mark by which nftables knows the instance.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, __u32);
} instances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, __u32);
} instances6 SEC(".maps");

// Every mark of an instance, of either family.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u32);
} marks SEC(".maps");

// A client's flow as its packets say it before they are translated, and the instance it is with.
struct flow_key {
	struct address client;
	struct address instance;
	struct address vip;
	__be16 client_port;
	__be16 port;
	__u8 protocol;
	__u8 zero[3];
};

// The value is its age, as in hypervisor_age.h. Pinned, unlike the other maps: nobody could write it again.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key);
	__type(value, __u16);
} clients SEC(".maps");

enum counter {
	DECAPSULATED,           // the tunnel's header was taken off
	SECOND_CHANCE_KEPT,     // of two instances that might have the flow it is the first
	SECOND_CHANCE_PASSED,   // it is not the first: sent on to the second
	DROPPED_MALFORMED,      // what is in the tunnel is no packet of its family
	DROPPED_FRAGMENT,       // of a tunnel: LB nodes send none
	DROPPED_UNTRANSLATED,   // on its way back to the LB nodes with its mark: somebody took nftables' rules away
	PASSED_FOREIGN_TUNNEL,  // to the kernel: a tunnel from elsewhere than the LB nodes
	PASSED_OTHER,           // to the kernel: none of our business
	COUNTERS,
};

#include "hypervisor_counters.h"
