// Whether an instance's flow is alive, in 16 bits: what the hypervisor remembers of its client's last packets. Only a flow
// that is alive may keep a packet that has a second chance: the client may use the port of one that is over for another
// connection, at another instance.
//
//   0              unknown: written by a release that did not keep it
//   0 | time       15 bits: of the last packet
//   1 | sequence   15 bits: of the TCP segment with which the client ended the connection (FIN or RST)
//
// What belongs to a connection that was ended is numbered before its end: acknowledgements of the instance's last words,
// and what is sent again. A new connection from the same port begins later: by 250 kB for each second since the old one
// began (RFC 9293, 3.4.1; Linux: 15 MB), or anywhere.
#pragma once

#include "hypervisor_packet.h"

#define AGE_ENDED 0x8000
#define AGE_REST 0x7fff
#define AGE_TICK_LOG2_NS 33 // about 8.6 s; 15 bits of ticks are 78 hours
#define AGE_LIMIT_TCP 1257  // 3 hours: longer than TCP's usual keepalive (2 hours) lets a connection be silent
#define AGE_LIMIT_UDP 7     // a minute
#define AGE_BLOCK_LOG2 16   // sequence numbers are kept in blocks of 64 kB
#define AGE_WINDOW 64       // blocks before the end, 4 MB: more is seldom under way

static __always_inline __u16 age_now(void)
{
	__u16 now = bpf_ktime_get_coarse_ns() >> AGE_TICK_LOG2_NS & AGE_REST;

	return now ? now : 1;
}

static __always_inline __u16 age_ended(const struct segment *segment)
{
	return AGE_ENDED | (segment->sequence >> AGE_BLOCK_LOG2 & AGE_REST);
}

// Of an age that tells the end. The segment that ended the connection may have reached into the next block.
static __always_inline bool is_before_end(__u16 age, const struct segment *segment)
{
	return (age + 1 - (segment->sequence >> AGE_BLOCK_LOG2) & AGE_REST) <= AGE_WINDOW;
}

// The flow's age once its client has sent this segment (nothing, of UDP). What comes after the end is something new,
// whose SYN came another way, or the end was somebody else's lie.
static __always_inline __u16 age_after(__u16 age, const struct segment *segment)
{
	if (segment->flags & (TCP_FLAG_FIN | TCP_FLAG_RST))
		return age_ended(segment);
	if (age & AGE_ENDED && !(segment->flags & TCP_FLAG_SYN) && is_before_end(age, segment))
		return age;
	return age_now();
}

// Whether the flow is the one that this segment is of, NULL where that is not known: an error quotes the other end's. One
// tick ahead: another CPU may have written a time later than this one's `now`, which must not look ancient.
static __always_inline bool is_alive(__u16 age, __u8 protocol, const struct segment *segment)
{
	__u16 ticks;

	if (age & AGE_ENDED)
		return segment && is_before_end(age, segment);
	ticks = (age_now() + 1 - age) & AGE_REST;
	return !age || ticks <= (protocol == IPPROTO_TCP ? AGE_LIMIT_TCP : AGE_LIMIT_UDP) + 1;
}

// At most one write a tick: it costs more than looking.
static __always_inline void grow_old(__u16 *age, const struct segment *segment)
{
	__u16 after = age_after(*age, segment);

	if (*age != after)
		*age = after;
}
