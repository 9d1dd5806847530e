// Every fate a packet can meet has a name and a counter, one per CPU. User space has the same list in the same order
// (FATES in dataplanes/xdp/layout.py; a test compares them).
#pragma once
#include "layout.h"
#include "packet.h"

enum fate {
	FORWARDED,              // to a backend
	ICMP_FORWARDED,         // an ICMP error about a flow, to the flow's backend
	SECOND_CHANCE_GIVEN,    // to the old owner of its slot, which sends it on to the new one if it is none of its flows
	TOO_BIG_ANSWERED,       // it would not fit the tunnel: ICMP "fragmentation needed" or "packet too big" sent back
	PASSED_TOO_SHORT,       // to the kernel: a header is cut off, or shorter than the packet says
	PASSED_ARP,             // to the kernel
	PASSED_NDP,             // to the kernel: neighbour discovery, which is IPv6's ARP
	PASSED_VLAN,            // to the kernel: tagged frames are not balanced
	PASSED_NOT_IP,          // to the kernel: neither ARP, VLAN, IPv4 nor IPv6
	PASSED_IP_OPTIONS,      // to the kernel: IPv4 with options, or IPv6 with hop-by-hop, routing or destination options
	PASSED_FRAGMENT,        // to the kernel: only a first fragment has ports
	PASSED_NOT_TCP_UDP,     // to the kernel: another protocol
	PASSED_ICMP,            // to the kernel: ping, or an error that quotes no flow of ours
	PASSED_NO_SERVICE,      // to the kernel: not for a virtual service
	REFUSED_NO_BACKEND,     // to the kernel, whose nftables rules refuse it
	DROPPED_NO_NEIGHBOUR,   // the next hop's MAC address is unknown
	DROPPED_TOO_BIG,        // it would not fit the tunnel, and nobody may be told (no DF, ICMP, or IPv6 of up to 1280 bytes)
	DROPPED_ENCAPSULATION,  // no room in front of the frame
	DROPPED_NO_TABLE,       // a table is missing: cannot happen once the program is loaded
	FATES,
};

struct fates {
	__u64 count[FATES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fates);
} counters SEC(".maps");

// Count the fate and return the verdict that goes with it.
inlined int finish(enum fate fate)
{
	__u32 zero = 0;
	struct fates *fates = bpf_map_lookup_elem(&counters, &zero);

	if (fates)
		fates->count[fate]++;
	if (fate >= DROPPED_NO_NEIGHBOUR)
		return XDP_DROP;
	return fate >= PASSED_TOO_SHORT ? XDP_PASS : XDP_TX;
}

inlined void add(void *totals, __u32 index, __u64 bytes)
{
	struct total *total = bpf_map_lookup_elem(totals, &index);

	if (total) {
		total->packets++;
		total->bytes += bytes;
	}
}
