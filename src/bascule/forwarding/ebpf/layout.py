"""The bytes that the driver and `bpf/hypervisor_maps.h` share. Addresses and ports are in network order. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from bascule.model.configurations import ForwardingRule
from bascule.model.errors import InvalidInput
from bascule.model.strategies import Protocol

# Raise it whenever the meaning of a map's bytes changes: a new process must not read those of an older one.
LAYOUT_VERSION = 1
MAX_TUNNEL_SOURCES = 16
UPLINK, INSTANCE = 1, 2

# IPv4 and TCP header without options (RFC 791, RFC 9293)
_HEADERS = 40
_SMALLEST_TUNNEL_MTU = 576
_LARGEST_TUNNEL_MTU = 65515

# In the order of `enum counter`
COUNTERS = (
    "decapsulated",
    "translated",
    "replied",
    "icmp_translated",
    "mss_clamped",
    "direct_flow_forgotten",
    "dropped_no_rule",
    "dropped_malformed",
    "dropped_fragment",
    "passed_foreign_tunnel",
    "passed_other",
)

_RULE_KEY = struct.Struct("!4s4sHBx")
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What must happen to a map so that it holds what is desired."""

    write: Mapping[bytes, bytes]
    delete: frozenset[bytes]


def differences(desired: Mapping[bytes, bytes], actual: Mapping[bytes, bytes]) -> Changes:
    """Compare the elements of a map."""
    write = {key: value for key, value in desired.items() if actual.get(key) != value}
    return Changes(write=write, delete=frozenset(actual.keys() - desired.keys()))


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


def rules(desired: Iterable[ForwardingRule]) -> dict[bytes, bytes]:
    """The elements of the map `rules`: `struct rule_key` to `struct rule`."""
    return {
        _RULE_KEY.pack(rule.instance.packed, rule.address.packed, rule.port, rule.protocol.number): struct.pack(
            "!H", rule.target_port
        )
        for rule in desired
    }


def rule(key: bytes, value: bytes) -> ForwardingRule | None:
    """Read an element of the map `rules` back; None when no rule of ours can look like it."""
    instance, address, port, protocol = _RULE_KEY.unpack(key)
    if protocol not in _PROTOCOLS:
        return None
    (target_port,) = struct.unpack("!H", value)
    return ForwardingRule(IPv4Address(address), _PROTOCOLS[protocol], port, IPv4Address(instance), target_port)


def number(value: int) -> bytes:
    """A `__u32` in the byte order of this machine: interface indexes, counter keys."""
    return struct.pack("=I", value)


def read_number(value: bytes) -> int:
    """Read a `__u32` back."""
    return int(struct.unpack("=I", value)[0])


def total(values: Iterable[bytes]) -> int:
    """The sum of a counter's `__u64` over all CPUs."""
    return sum(int(struct.unpack("=Q", value)[0]) for value in values)
