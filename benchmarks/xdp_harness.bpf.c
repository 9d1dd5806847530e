// Calls the program under test 32 times a run (the kernel allows 33 tail calls), each time on a fresh packet: the next
// flow's address and port are written in, and afterwards what the program put in front of the packet is taken off again.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PACKETS_A_RUN 32
#define CLIENT_ADDRESS 26
#define CLIENT_PORT 34
#define CLIENT_ADDRESS_V6 34 // its last four bytes
#define CLIENT_PORT_V6 54

struct plan {
	__u32 flow_mask; // how many flows take part, minus 1; a power of two minus 1
	__u32 state;     // of the generator
	__u32 is_ipv6;
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
static __attribute__((noinline)) int call_target(struct xdp_md *ctx)
{
	int verdict = XDP_ABORTED;

	bpf_tail_call(ctx, &target, 0);
	asm volatile("" : "+r"(verdict)); // keeps clang from folding the return value
	return verdict;
}

static __always_inline int write_flow(struct xdp_md *ctx, __u32 flow, bool is_ipv6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 56 > end)
		return -1;
	*(__u32 *)(data + 0) = 0x00000002;
	*(__u32 *)(data + 4) = 0x02000100;
	*(__u32 *)(data + 8) = 0x02000000;
	*(__u16 *)(data + 12) = is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	*(__u32 *)(data + (is_ipv6 ? CLIENT_ADDRESS_V6 : CLIENT_ADDRESS)) = bpf_htonl(0x0b000000 | flow >> 12);
	*(__u16 *)(data + (is_ipv6 ? CLIENT_PORT_V6 : CLIENT_PORT)) = bpf_htons(1024 + (flow & 0xfff));
	return 0;
}

// What costs nothing, and what costs only the room in front of the packet: the two baselines.
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int make_room(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -20) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int harness(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 before = ctx->data_end - ctx->data;
	struct plan *plan = bpf_map_lookup_elem(&plans, &zero);
	int verdict = XDP_ABORTED;

	if (!plan)
		return XDP_ABORTED;
	for (int i = 0; i < PACKETS_A_RUN; i++) {
		plan->state = plan->state * 1664525 + 1013904223; // visits every flow, in no order a prefetcher would guess
		if (write_flow(ctx, plan->state & plan->flow_mask, plan->is_ipv6))
			return XDP_ABORTED;
		verdict = call_target(ctx);
		__u64 after = ctx->data_end - ctx->data;
		asm volatile("" : "+r"(after));
		if (after != before && bpf_xdp_adjust_head(ctx, (int)(after - before)))
			return XDP_ABORTED;
	}
	return verdict;
}

char _license[] SEC("license") = "GPL";
