"""The bytes every driver shares with `bpf/hypervisor_tunnel.h`: which tunnels to accept, and plain numbers. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from bascule.model.addresses import IPNetwork
from bascule.model.errors import InvalidInput

MAX_TUNNEL_SOURCES = 16

# IP and TCP header without options (RFC 791, RFC 8200, RFC 9293), by the version of IP
_HEADERS = {4: 40, 6: 60}
_SMALLEST_TUNNEL_MTU = 576
_LARGEST_TUNNEL_MTU = 65515
_OUTER_DIFFERENCE = 20  # bytes by which the header of an IPv6 tunnel is longer
# Of the second tunnel that a packet may need (docs/decisions/0020-second-chance.md), by the version of IP
_SECOND_HEADER = {4: 20, 6: 40}


def largest_segment(tunnel_mtu: int, version: int) -> int:
    """Bytes of TCP in a packet that fits two tunnels; `tunnel_mtu` is the largest inner packet of one of IPv4."""
    fits = tunnel_mtu - (_OUTER_DIFFERENCE if version == 6 else 0)
    return fits - _SECOND_HEADER[version] - _HEADERS[version]


def families(tunnel_sources: Iterable[IPNetwork]) -> frozenset[int]:
    """The versions of IP whose tunnels are accepted, and so those that instances can be served by."""
    return frozenset(source.version for source in tunnel_sources)


def settings(tunnel_sources: Sequence[IPNetwork], tunnel_mtu: int) -> bytes:
    """`struct settings`. `tunnel_mtu` is as for `largest_segment`, in bytes. Raises InvalidInput out of range."""
    by_version = {version: [source for source in tunnel_sources if source.version == version] for version in (4, 6)}
    if not tunnel_sources or any(len(sources) > MAX_TUNNEL_SOURCES for sources in by_version.values()):
        raise InvalidInput(
            f"Give 1 to {MAX_TUNNEL_SOURCES} prefixes of a family to accept tunnels from, not {len(tunnel_sources)}.",
            field="tunnel_sources",
        )
    if not _SMALLEST_TUNNEL_MTU <= tunnel_mtu <= _LARGEST_TUNNEL_MTU:
        raise InvalidInput(
            f"A tunnel MTU of {tunnel_mtu} is outside {_SMALLEST_TUNNEL_MTU} to {_LARGEST_TUNNEL_MTU} bytes.",
            field="tunnel_mtu",
        )
    counts = (len(by_version[version]) for version in (4, 6))
    segments = (largest_segment(tunnel_mtu, version) for version in (4, 6))
    return struct.pack("=IIII", *counts, *segments) + _prefixes(by_version[4], 4) + _prefixes(by_version[6], 16)


def _prefixes(sources: Iterable[IPNetwork], size: int) -> bytes:
    """Network and mask of each, `size` bytes either, padded to the room there is."""
    packed = b"".join(source.network_address.packed + source.netmask.packed for source in sources)
    return packed.ljust(2 * size * MAX_TUNNEL_SOURCES, b"\0")


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
