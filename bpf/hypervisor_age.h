// When an instance's flow was last heard of, and whether its client has ended it, in 16 bits: bit 15 is set by FIN or RST,
// bits 14-0 are the time, 0 for unknown (written by a release that did not keep it). Only a flow that is alive may keep a
// packet that has a second chance: the client may use the port of one that is over for another connection.
#pragma once

#include "hypervisor_packet.h"

#define AGE_ENDED 0x8000
#define AGE_TIME 0x7fff
#define AGE_TICK_LOG2_NS 33 // about 8.6 s; 15 bits of ticks are 78 hours
#define AGE_LIMIT_TCP 1257  // 3 hours: longer than TCP's usual keepalive (2 hours) lets a connection be silent
#define AGE_LIMIT_SHORT 7   // a minute: for UDP, and for the last packets of a connection that its client has ended

static __always_inline __u16 age_now(void)
{
	__u16 now = bpf_ktime_get_coarse_ns() >> AGE_TICK_LOG2_NS & AGE_TIME;

	return now ? now : 1;
}

// The flow's age once its client has sent a packet with these TCP flags (0 of UDP).
static __always_inline __u16 age_after(__u16 age, __u8 flags)
{
	__u16 ended = flags & TCP_FLAG_SYN ? 0 : age & AGE_ENDED;

	if (flags & (TCP_FLAG_FIN | TCP_FLAG_RST))
		ended = AGE_ENDED;
	return ended | age_now();
}

// One tick ahead: another CPU may have written a time later than this one's `now`, which must not look ancient.
static __always_inline bool is_alive(__u16 age, __u8 protocol)
{
	__u16 limit = protocol == IPPROTO_TCP && !(age & AGE_ENDED) ? AGE_LIMIT_TCP : AGE_LIMIT_SHORT;
	__u16 ticks = (age_now() + 1 - age) & AGE_TIME;

	return !(age & AGE_TIME) || ticks <= limit + 1;
}

// At most one write a tick: it costs more than looking.
static __always_inline void grow_old(__u16 *age, __u8 flags)
{
	__u16 after = age_after(*age, flags);

	if (*age != after)
		*age = after;
}
