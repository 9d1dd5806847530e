// Calls the program under test 32 times a run (the kernel allows 33 tail calls), each time on a fresh packet: room that
// the program took away is made again, and the packet is written anew with the next flow's port.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PACKETS_A_RUN 32
#define LONGEST 192

struct plan {
	__u32 length;      // of the packet, in bytes
	__u32 port_offset; // where the client's port is
	__u32 flow_mask;   // how many flows take part, minus 1; a power of two minus 1
	__u32 state;       // of the generator
	__u32 header;      // what `take_off` takes, in bytes
	__u8 packet[LONGEST];
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plans SEC(".maps");

// A tail call made in a function returns to the function's caller.
static __attribute__((noinline)) int call_target(struct __sk_buff *skb)
{
	int verdict = TC_ACT_SHOT;

	bpf_tail_call(skb, &target, 0);
	asm volatile("" : "+r"(verdict)); // keeps clang from folding the return value
	return verdict;
}

static __always_inline int restore(struct __sk_buff *skb, struct plan *plan)
{
	__s32 missing = plan->length - skb->len;
	__u32 length = plan->length;
	__be16 port;

	if (missing && bpf_skb_adjust_room(skb, missing, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	if (length < 1 || length > LONGEST || bpf_skb_store_bytes(skb, 0, plan->packet, length, 0))
		return -1;
	plan->state = plan->state * 1664525 + 1013904223; // visits every flow, in no order a prefetcher would guess
	port = bpf_htons(1024 + (plan->state >> 8 & plan->flow_mask));
	return bpf_skb_store_bytes(skb, plan->port_offset, &port, sizeof(port), 0);
}

// What costs nothing, and what costs only taking off the outer header: the two baselines.
SEC("tc")
int pass(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

SEC("tc")
int take_off(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct plan *plan = bpf_map_lookup_elem(&plans, &zero);

	if (!plan || bpf_skb_adjust_room(skb, -(__s32)plan->header, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int harness(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct plan *plan = bpf_map_lookup_elem(&plans, &zero);
	int verdict = TC_ACT_SHOT;

	if (!plan)
		return TC_ACT_SHOT;
	for (int i = 0; i < PACKETS_A_RUN; i++) {
		if (restore(skb, plan))
			return TC_ACT_SHOT;
		verdict = call_target(skb);
	}
	return restore(skb, plan) ? TC_ACT_SHOT : verdict;
}

char _license[] SEC("license") = "GPL";
