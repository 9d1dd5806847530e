"""The bytes shared with the kernel's programs."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from bascule.forwarding import tunnel_layout
from bascule.forwarding.ebpf import layout
from bascule.forwarding.netfilter import uplinks
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import InvalidInput
from bascule.model.strategies import Protocol

PROGRAMS = Path(__file__).parents[3] / "bpf"
RULE = ForwardingRule(IPv4Address("203.0.113.10"), Protocol.UDP, 53, IPv4Address("10.128.0.11"), 5353)
RULE6 = ForwardingRule(IPv6Address("2001:db8::10"), Protocol.TCP, 80, IPv6Address("2001:db8::11"), 8080)
SOURCES = (IPv4Network("10.99.0.0/16"), IPv4Network("192.0.2.1/32"))


@pytest.mark.parametrize(
    ("header", "counters"), [("hypervisor_maps.h", layout.COUNTERS), ("decapsulate_maps.h", uplinks.COUNTERS)]
)
def test_counters_have_the_names_and_the_order_of_the_programs(header: str, counters: tuple[str, ...]) -> None:
    """The counters of Python are the enumeration of C, word for word."""
    found = re.search(r"enum counter \{(.*?)\};", (PROGRAMS / header).read_text(), re.DOTALL)
    assert found
    names = re.findall(r"^\s*([A-Z_]+),", found[1], re.MULTILINE)

    assert names == [name.upper() for name in counters] + ["COUNTERS"]


def test_limits_are_those_of_the_programs() -> None:
    """As many tunnel sources are accepted as the programs have room for."""
    assert (
        f"#define MAX_TUNNEL_SOURCES {tunnel_layout.MAX_TUNNEL_SOURCES}\n"
        in (PROGRAMS / "hypervisor_tunnel.h").read_text()
    )


def test_a_rule_is_packed_as_the_programs_read_it() -> None:
    """Instance, VIP, port, protocol and a zero byte lead to the target port, all in network order."""
    ((key, value),) = layout.rules([RULE]).items()

    assert key == bytes([10, 128, 0, 11, 203, 0, 113, 10, 0, 53, 17, 0])
    assert value == bytes([0x14, 0xE9])


@pytest.mark.parametrize("rule", [RULE, RULE6])
def test_a_rule_reads_back(rule: ForwardingRule) -> None:
    """Reading what was packed gives the same rule; a protocol nobody knows gives none."""
    ((key, value),) = layout.rules([rule]).items()

    assert layout.rule(key, value) == rule
    assert layout.rule(key[:-2] + b"\1\0", value) is None


def test_settings_are_packed_as_the_programs_read_them() -> None:
    """Of each family the count, the largest segment and the prefixes, padded to the room there is."""
    packed = tunnel_layout.settings((*SOURCES, IPv6Network("2001:db8::/32")), 1480)

    assert [tunnel_layout.read_number(packed[at : at + 4]) for at in (0, 4, 8, 12)] == [2, 1, 1420, 1360]
    assert packed[16:32] == bytes([10, 99, 0, 0, 255, 255, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255])
    assert packed[32:144] == bytes(8 * (tunnel_layout.MAX_TUNNEL_SOURCES - 2))
    assert packed[144:176] == bytes.fromhex("20010db8") + bytes(12) + b"\xff" * 4 + bytes(12)
    assert packed[176:] == bytes(32 * (tunnel_layout.MAX_TUNNEL_SOURCES - 1))


@pytest.mark.parametrize(
    ("sources", "tunnel_mtu", "field"),
    [((), 1480, "tunnel_sources"), (SOURCES * 9, 1480, "tunnel_sources"), (SOURCES, 39, "tunnel_mtu")],
)
def test_settings_out_of_range_are_refused(sources: tuple[IPv4Network, ...], tunnel_mtu: int, field: str) -> None:
    """No prefix at all, too many of them, or an impossible MTU is refused by the setting's name."""
    with pytest.raises(InvalidInput) as refusal:
        tunnel_layout.settings(sources, tunnel_mtu)

    assert refusal.value.field == field


def test_differences_name_what_to_write_and_what_to_delete() -> None:
    """Missing and changed elements are written, unknown ones deleted, equal ones left alone."""
    desired = {b"same": b"1", b"changed": b"2", b"missing": b"3"}
    actual = {b"same": b"1", b"changed": b"0", b"unknown": b"4"}

    changes = layout.differences(desired, actual)

    assert changes.write == {b"changed": b"2", b"missing": b"3"}
    assert changes.delete == {b"unknown"}
