"""The bytes that the driver and `bpf/hypervisor_maps.h` share. Addresses and ports are in network order. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

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
    "second_chance_kept",
    "second_chance_passed",
    "dropped_no_rule",
    "dropped_malformed",
    "dropped_fragment",
    "passed_foreign_tunnel",
    "passed_other",
)

VERSIONS = (4, 6)
# By the version of IP, whose addresses tell the keys apart by their length
_RULE_KEYS = {4: struct.Struct("!4s4sHBx"), 6: struct.Struct("!16s16sHBx")}
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


def map_of(name: str, version: int) -> str:
    """The name in C of the map for that version of IP."""
    return name if version == 4 else f"{name}{version}"


def rules(desired: Iterable[ForwardingRule]) -> dict[bytes, bytes]:
    """The elements of the map `rules` of each rule's family: `struct rule_key` (or `rule_key4`) to `struct rule`."""
    return {_rule_key(rule): struct.pack("!H", rule.target_port) for rule in desired}


def _rule_key(rule: ForwardingRule) -> bytes:
    key = _RULE_KEYS[rule.address.version]
    return key.pack(rule.instance.packed, rule.address.packed, rule.port, rule.protocol.number)


def rule(key: bytes, value: bytes) -> ForwardingRule | None:
    """Read an element of a map `rules` back; None when no rule of ours can look like it."""
    (packing,) = (packing for packing in _RULE_KEYS.values() if packing.size == len(key))
    instance, address, port, protocol = packing.unpack(key)
    if protocol not in _PROTOCOLS:
        return None
    (target_port,) = struct.unpack("!H", value)
    return ForwardingRule(ip_address(address), _PROTOCOLS[protocol], port, ip_address(instance), target_port)
