// The hash that decides where a flow goes. It depends on the packet and the service's seed only, so every node agrees.
#pragma once
#include "layout.h"
#include "packet.h"

// Two rounds of multiply and shift (the constants and the pattern of Pelle Evensen's "rrmxmx" family); the secret seed
// keeps outsiders from aiming flows at one slot.
inlined __u64 scramble(__u64 mixed)
{
	mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93ULL;
	mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93ULL;
	return mixed ^ mixed >> 32;
}

// `client` is an IPv4 address in the upper half, or what `digest_of` makes of an IPv6 address.
inlined __u64 flow_hash(__u64 client, __u32 ports, __u64 seed)
{
	return scramble(client ^ ports ^ seed);
}

// The seed goes in before 128 bits become 64: nobody outside can find addresses that coincide.
inlined __u64 digest_of(__u64 first, __u64 second, __u64 seed)
{
	return scramble(scramble(first ^ seed) ^ second);
}

// 16 bits reach the first 65,536 of the 65,537 slots: being blind to the last one skews the shares by 1/65,537.
inlined __u32 ring_slot(__u64 hash)
{
	return hash >> 48;
}
