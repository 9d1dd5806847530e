// Clamp what an instance offers to receive (the MSS option of its SYN+ACK, RFC 9293 3.7.1) to what fits the tunnel:
// clients then never send a segment that the tunnel header would push over the path's MTU.
#pragma once

#include "hypervisor_maps.h"
#include "hypervisor_packet.h"
#include "hypervisor_rewrite.h"
#include "hypervisor_tunnel.h"

#define TCP_HEADER_LENGTH 20
#define TCP_OPTIONS_MAX 40
#define TCP_DATA_OFFSET 12
#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_OPTION_MSS_LENGTH 4

static __always_inline bool clamp_option(struct __sk_buff *skb, const struct packet *packet, __u32 offset)
{
	__u16 largest = packet->version == 6 ? settings.largest_segment6 : settings.largest_segment;
	__be16 from, to = bpf_htons(largest);

	if (bpf_skb_load_bytes(skb, offset, &from, sizeof(from)) < 0 || bpf_ntohs(from) <= largest)
		return true;
	if (bpf_skb_store_bytes(skb, offset, &to, sizeof(to), 0) < 0)
		return false;
	count(MSS_CLAMPED);
	// After an odd number of NOPs the number straddles two words of the checksum, as if its bytes were swapped.
	if (offset & 1)
		return bpf_l4_csum_replace(skb, l4_checksum_offset(packet), bpf_ntohs(from), bpf_ntohs(to), 2) == 0;
	return bpf_l4_csum_replace(skb, l4_checksum_offset(packet), from, to, 2) == 0;
}

// Walks the options; anything malformed ends the walk and leaves the rest to the receiver. False: the kernel refused.
static __always_inline bool clamp_mss(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 offset = packet->l4 + TCP_HEADER_LENGTH, end;
	__u8 option[2];

	if (bpf_skb_load_bytes(skb, packet->l4 + TCP_DATA_OFFSET, option, 1) < 0)
		return true;
	end = packet->l4 + (option[0] >> 4) * 4;
	for (int i = 0; i < TCP_OPTIONS_MAX; i++) {
		if (offset + 2 > end || bpf_skb_load_bytes(skb, offset, option, sizeof(option)) < 0)
			return true;
		if (option[0] == TCP_OPTION_NOP) {
			offset++;
			continue;
		}
		if (option[0] == TCP_OPTION_END || option[1] < 2 || offset + option[1] > end)
			return true;
		if (option[0] == TCP_OPTION_MSS)
			return option[1] != TCP_OPTION_MSS_LENGTH || clamp_option(skb, packet, offset + 2);
		offset += option[1];
	}
	return true;
}
