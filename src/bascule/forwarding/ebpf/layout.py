"""The bytes that the driver and `bpf/hypervisor_maps.h` share. Addresses and ports are in network order. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol

# Raise it whenever the meaning of a map's bytes changes: a new process must not read those of an older one.
LAYOUT_VERSION = 1
UPLINK, INSTANCE = 1, 2

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
