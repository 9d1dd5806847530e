// Clamp what an instance offers to receive (the MSS option of its SYN+ACK, RFC 9293 3.7.1) to what fits two
// tunnels: clients then never send a segment that the headers would push over the path's MTU.
#pragma once

#include "hypervisor_maps.h"
#include "hypervisor_packet.h"
#include "hypervisor_tunnel.h"

#define TCP_HEADER_LENGTH 20
#define TCP_CHECKSUM 16
#define TCP_OPTIONS_MAX 40
#define TCP_DATA_OFFSET 12
#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_OPTION_MSS_LENGTH 4

static __always_inline int clamp_option(struct __sk_buff *skb, __u32 checksum, __u32 offset, __u32 largest)
{
	__be16 from, to = bpf_htons(largest);

	if (bpf_skb_load_bytes(skb, offset, &from, sizeof(from)) < 0 || bpf_ntohs(from) <= largest)
		return 1;
	if (bpf_skb_store_bytes(skb, offset, &to, sizeof(to), 0) < 0)
		return 0;
	count(MSS_CLAMPED);
	// After an odd number of NOPs the number straddles two words of the checksum, as if its bytes were swapped.
	if (offset & 1)
		return bpf_l4_csum_replace(skb, checksum, bpf_ntohs(from), bpf_ntohs(to), 2) == 0;
	return bpf_l4_csum_replace(skb, checksum, from, to, 2) == 0;
}

// Walks the options of the TCP header at `l4`; anything malformed ends the walk and leaves the rest to the receiver.
// False: the kernel refused. A function of its own for the verifier's sake, like `step_over_all`.
static __attribute__((noinline)) int clamp_mss(struct __sk_buff *skb, __u32 l4, __u32 largest)
{
	__u32 offset = l4 + TCP_HEADER_LENGTH, end;
	__u8 option[2];

	if (bpf_skb_load_bytes(skb, l4 + TCP_DATA_OFFSET, option, 1) < 0)
		return 1;
	end = l4 + (option[0] >> 4) * 4;
	for (int i = 0; i < TCP_OPTIONS_MAX; i++) {
		if (offset + 2 > end || bpf_skb_load_bytes(skb, offset, option, sizeof(option)) < 0)
			return 1;
		if (option[0] == TCP_OPTION_NOP) {
			offset++;
			continue;
		}
		if (option[0] == TCP_OPTION_END || option[1] < 2 || offset + option[1] > end)
			return 1;
		if (option[0] == TCP_OPTION_MSS)
			return option[1] != TCP_OPTION_MSS_LENGTH ||
			       clamp_option(skb, l4 + TCP_CHECKSUM, offset + 2, largest);
		offset += option[1];
	}
	return 1;
}

static __always_inline __u32 largest_segment(const struct packet *packet)
{
	return packet->version == 6 ? settings.largest_segment6 : settings.largest_segment;
}
