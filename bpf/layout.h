// The tables of the XDP balancer, as the program and user space both see them (user space: dataplanes/xdp/layout.py).
// Change LAYOUT_VERSION there whenever a struct here changes: an upgraded agent then starts with fresh tables.
//
// All words are little-endian except addresses, ports and MACs, which keep the order they have on the wire.
#pragma once
#include <linux/types.h>

#define SERVICE_SLOTS 4096    // of the service table's hash; a power of two
#define SERVICE_SLOTS_LOG2 12
#define SERVICE_PROBES 16     // how far a lookup walks before it gives up
#define RING_SLOTS 65537      // a prime, so that every Maglev permutation visits every slot
#define SEQUENCE_SLOTS 4096   // of a round robin sequence
#define BACKENDS_MAX 32768    // an index fits in 15 bits; 0 means none
#define BUCKET_FLOWS 8        // 8 words of 8 bytes: one cache line

// 8 bytes: protocol, 0 for IPv4 or 6 for IPv6, port (2 bytes, network order), VIP (4 bytes, network order). 0 marks a free
// slot. Of an IPv6 VIP it has the four words XORed: the table is searched by that, and the VIP itself compared as well.
typedef __u64 service_key;

#define SERVICE_ROUND_ROBIN 1 // new flows take the next backend of the sequence, and every flow is remembered
#define SERVICE_SETTLED 2     // the ring changed so long ago that a UDP flow nobody remembers must be a new one

struct service {
	service_key key;
	__u64 seed;      // salts the hash; made from the load balancer's seed and the key, so equal on every node
	__u32 index;     // of its ring, its sequence and its totals
	__u32 hash_mask; // which bits of (source port, destination port) the ring hash takes in
	__u32 flags;
	__u32 unused;
	__u64 address[2]; // the VIP if it is IPv6, network order, else 0
};

// Two copies: user space writes the one that is not active, then flips `active`. Readers never see a half-written table.
struct service_table {
	__u32 active;
	__u32 unused;
	struct service slot[2 * (SERVICE_SLOTS + SERVICE_PROBES)];
};

// One backend of one service: an instance that serves two services has two entries, each with its own health and totals.
#define BACKEND_RESOLVED 1    // the MAC addresses below are known
#define BACKEND_TRANSMIT 2    // XDP_TX is safe when the packet leaves where it came in (not on veth)

// 64 bytes, so that an entry is one cache line.
struct backend {
	service_key service; // whose backend it is; a word of a flow table that says otherwise is not believed
	__u64 vip[2];        // the rest of the key if the service is IPv6; the program does not look at it
	__u32 address[4];    // where the tunnel ends, network order; of IPv4 in the first word
	__u32 ifindex;       // leads to the next hop
	__u8 destination_mac[6];
	__u8 source_mac[6];
	__u8 flags;
	__u8 weight;         // user space's own
	__u16 inner_mtu;     // the longest IP packet that fits the tunnel, bytes
	__u8 family;         // of the tunnel: 4 or 6; 0: removed
	__u8 unused[3];
};

// A slot of a Maglev ring: bit 31 dirty, bits 30-16 the old owner, bits 15-0 the current owner.
#define SLOT_DIRTY 0x80000000u
#define SLOT_OLD(slot) ((slot) >> 16 & 0x7fff)
#define SLOT_CURRENT(slot) ((slot) & 0xffff)

struct ring {
	__u32 slot[RING_SLOTS];
};

struct sequence {
	__u64 next;   // counts new flows; written by the program
	__u32 length; // of what follows, 0 when no backend takes new flows
	__u32 unused;
	__u16 backend[SEQUENCE_SLOTS];
};

// A remembered flow: bits 63-32 tag (63-48 are its ring slot), bits 31-16 time last seen, bit 15 guess, bits 14-0 backend.
// 0: free. A guess says that the flow is at the slot's old owner, or else at this backend.
#define FLOW_TAG(word) ((__u32)((word) >> 32))
#define FLOW_SLOT(word) ((__u32)((word) >> 48))
#define FLOW_SEEN(word) ((__u16)((word) >> 16))
#define FLOW_GUESS 0x8000
#define FLOW_IS_GUESS(word) ((word) & FLOW_GUESS)
#define FLOW_BACKEND(word) ((__u32)(word) & 0x7fff)
#define FLOW_TICK_LOG2_NS 30  // one tick of `time last seen` is 2^30 ns, about 1.07 s

struct bucket {
	__u64 flow[BUCKET_FLOWS];
};

struct total {
	__u64 packets;
	__u64 bytes;
};

// Read-only data, set before the program is loaded.
struct settings {
	__u32 tunnel_source; // the shared prefix of the outer source, network order, last two bytes 0
	__u32 flow_buckets;  // a power of two
	__u32 tunnel_source_v6[3]; // the same for tunnels in IPv6: its first 12 bytes
	__u32 second_chance; // whether flows that nobody remembers get two headers: hypervisors must understand them
};
