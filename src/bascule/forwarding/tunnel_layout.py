"""The bytes every driver shares with `bpf/hypervisor_tunnel.h`: which tunnels to accept, and plain numbers. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network

from bascule.model.errors import InvalidInput

MAX_TUNNEL_SOURCES = 16

# IPv4 and TCP header without options (RFC 791, RFC 9293)
_HEADERS = 40
_SMALLEST_TUNNEL_MTU = 576
_LARGEST_TUNNEL_MTU = 65515


def settings(tunnel_sources: Sequence[IPv4Network], tunnel_mtu: int) -> bytes:
    """`struct settings`. `tunnel_mtu` is the largest inner packet, in bytes. Raises InvalidInput out of range."""
    if not 0 < len(tunnel_sources) <= MAX_TUNNEL_SOURCES:
        raise InvalidInput(
            f"Give 1 to {MAX_TUNNEL_SOURCES} prefixes to accept tunnels from, not {len(tunnel_sources)}.",
            field="tunnel_sources",
        )
    if not _SMALLEST_TUNNEL_MTU <= tunnel_mtu <= _LARGEST_TUNNEL_MTU:
        raise InvalidInput(
            f"A tunnel MTU of {tunnel_mtu} is outside {_SMALLEST_TUNNEL_MTU} to {_LARGEST_TUNNEL_MTU} bytes.",
            field="tunnel_mtu",
        )
    prefixes = b"".join(source.network_address.packed + source.netmask.packed for source in tunnel_sources)
    return struct.pack("=II", len(tunnel_sources), tunnel_mtu - _HEADERS) + prefixes.ljust(
        8 * MAX_TUNNEL_SOURCES, b"\0"
    )


def number(value: int) -> bytes:
    """A `__u32` in the byte order of this machine: interface indexes, counter keys."""
    return struct.pack("=I", value)


def read_number(value: bytes) -> int:
    """Read a `__u32` back."""
    return int(struct.unpack("=I", value)[0])


def totals(names: Iterable[str], read: Callable[[bytes], Iterable[bytes]]) -> dict[str, int]:
    """Counters by name: each the sum of its `__u64` over all CPUs, which `read` gives for its key."""
    return {
        name: sum(int(struct.unpack("=Q", value)[0]) for value in read(number(index)))
        for index, name in enumerate(names)
    }
