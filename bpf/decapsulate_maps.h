// What the program that only decapsulates shares with user space; `src/bascule/forwarding/netfilter/uplinks.py` has the
// other side.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, __u32); // the mark by which nftables knows the instance: its address, in host order
} instances SEC(".maps");

enum counter {
	DECAPSULATED,           // the tunnel's header was taken off
	DROPPED_MALFORMED,      // what is in the tunnel is no IPv4 packet
	DROPPED_FRAGMENT,       // of a tunnel: LB nodes send none
	DROPPED_UNTRANSLATED,   // on its way back to the LB nodes with its mark: somebody took nftables' rules away
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

static __always_inline int fate(enum counter which, int verdict)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		(*value)++;
	return verdict;
}
