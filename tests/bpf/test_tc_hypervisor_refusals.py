"""One packet in, a verdict and a packet out: what the hypervisor drops, and what is none of its business."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bpf.hypervisor_programs import DROPPED, FAMILIES, LET_THROUGH, NEEDS, Family, Programs
from tests.bpf.packets import (
    ETHERNET,
    OPTIONS,
    ROUTING,
    TCP,
    UDP,
    Ends,
    frame,
    icmp_error,
    icmp_of,
    ip,
    read,
    tcp,
    tunnelled,
    udp,
)

pytestmark = NEEDS


def pinged(family: Family) -> bytes:
    """An echo request to the VIP."""
    return ip(family.client, family.vip, icmp_of(family.vip), bytes([8 if family.version == 4 else 128]) + bytes(7))


def error_to_another(family: Family) -> bytes:
    """An error about a reply, but to whom nobody quoted."""
    error = read(icmp_error(family.router, tcp(family.to_web.reversed())))
    return ip(family.router, family.neighbour, error.protocol, error.payload)


UNCOVERED: dict[str, Callable[[Family], bytes]] = {
    "port": lambda family: tcp(Ends(family.client, 40000, family.vip, 81)),
    "protocol": lambda family: udp(Ends(family.client, 40000, family.vip, 80)),
    "address": lambda family: tcp(Ends(family.client, 40000, family.neighbour, 80)),
    "ping": pinged,
    "gre": lambda family: ip(family.client, family.vip, 47, b"gre"),
    "error about no service": lambda family: icmp_error(family.router, tcp(Ends(family.vip, 81, family.client, 40000))),
    "error about gre": lambda family: icmp_error(family.router, ip(family.vip, family.client, 47, b"generic")),
    "error without quote": lambda family: icmp_error(family.router, tcp(family.to_web.reversed()))[: family.header + 8],
    "error to another": error_to_another,
}
MALFORMED: dict[str, Callable[[Family], bytes]] = {
    "empty": lambda family: b"",
    "one byte": lambda family: bytes([0x45 if family.version == 4 else 0x60]),
    "version 0": lambda family: bytes(family.header),
    "short header": lambda family: b"\x44" + bytes(30),
    "the other family": lambda family: tcp(FAMILIES["IPv6" if family.version == 4 else "IPv4"].to_web),
    "no ports": lambda family: ip(family.client, family.vip, TCP, b"\0\x50"),
    "no TCP checksum": lambda family: tcp(family.to_web)[: family.header + 10],
}


@pytest.mark.parametrize("inner", UNCOVERED)
def test_what_no_rule_covers_is_dropped(programs: Programs, family: Family, inner: str) -> None:
    """Out of the tunnel and without a rule a packet would circle between router and load balancer: it is dropped."""
    verdict, _, moved = programs.uplink(tunnelled(family.instance, UNCOVERED[inner](family)))

    assert verdict == DROPPED
    assert moved == {"decapsulated", "dropped_no_rule"}


@pytest.mark.parametrize("inner", MALFORMED)
def test_malformed_inner_packets_are_dropped(programs: Programs, family: Family, inner: str) -> None:
    """A tunnel that holds no whole packet is dropped and counted, never read past its end."""
    verdict, _, moved = programs.uplink(tunnelled(family.instance, MALFORMED[inner](family)))

    assert verdict == DROPPED
    assert "dropped_malformed" in moved


@pytest.mark.parametrize("fragment", [0x2000, 0x2001, 0x0001])
def test_fragments_out_of_the_tunnel_are_dropped(programs: Programs, family: Family, fragment: int) -> None:
    """LB nodes send no fragments on, and only the first of them would tell its port."""
    inner = ip(family.client, family.vip, UDP, udp(family.to_dns)[family.header :], fragment=fragment)
    outer = ip(family.tunnel_sources[1], family.instance, family.tunnel, tcp(family.to_web), fragment=fragment)

    assert programs.uplink(tunnelled(family.instance, inner))[::2] == (DROPPED, {"decapsulated", "dropped_fragment"})
    assert programs.uplink(outer)[::2] == (DROPPED, {"dropped_fragment"})


def test_tunnels_from_elsewhere_are_left_to_the_instance(programs: Programs, family: Family) -> None:
    """A tunnel from a source outside every allowed prefix is not ours to open."""
    packet = tunnelled(family.instance, tcp(family.to_web), source=family.foreign_source)

    assert programs.uplink(packet) == (LET_THROUGH, frame(packet), {"passed_foreign_tunnel"})


def test_every_allowed_prefix_is_accepted(programs: Programs, family: Family) -> None:
    """Tunnels may come from any of several prefixes."""
    for source in family.tunnel_sources:
        assert programs.uplink(tunnelled(family.instance, tcp(family.to_web), source=source))[2] == {
            "decapsulated",
            "translated",
        }


def test_tunnels_to_others_are_left_alone(programs: Programs, family: Family) -> None:
    """Only a registered instance's address ends a tunnel."""
    packet = tunnelled(family.neighbour, tcp(family.to_web))

    assert programs.uplink(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


CLIENT, INSTANCE = FAMILIES["IPv4"].client, FAMILIES["IPv4"].instance
CLIENT6, INSTANCE6 = FAMILIES["IPv6"].client, FAMILIES["IPv6"].instance


@pytest.mark.parametrize("name", ["hypervisor_uplink", "hypervisor_instance"])
@pytest.mark.parametrize(
    "data",
    [
        ETHERNET[:12] + b"\x08\x06",
        frame(b"\x4f" + ip(CLIENT, INSTANCE, TCP, b"\0" * 8)[1:]),
        frame(b"\x44" + ip(CLIENT, INSTANCE, TCP, b"\0" * 8)[1:]),
        ETHERNET[:12] + b"\x08\x06" + bytes(28),
        ETHERNET[:12] + b"\x86\xdd\x40" + bytes(59),
        ETHERNET[:12] + b"\x81\x00\x00\x05\x08\x00" + tcp(FAMILIES["IPv4"].to_web),
        ETHERNET[:12] + b"\x81\x00\x00\x05\x86\xdd" + tcp(FAMILIES["IPv6"].to_web),
        frame(ip(CLIENT, INSTANCE, TCP, b"\0")),
        frame(ip(CLIENT6, INSTANCE6, TCP, b"\0")),
        frame(ip(CLIENT6, INSTANCE6, OPTIONS, b"\x06")),
        frame(ip(CLIENT6, INSTANCE6, OPTIONS, b"\x06\xff" + bytes(20))),
        frame(ip(CLIENT6, INSTANCE6, OPTIONS, b"\x3c\0\0\0\0\0\0\0" * 8)),
        frame(ip(CLIENT6, INSTANCE6, ROUTING, b"\x06" + bytes(7) + tcp(FAMILIES["IPv6"].to_web)[40:])),
    ],
    ids=[
        "empty",
        "cut off",
        "short header",
        "ARP",
        "wrong version",
        "VLAN",
        "VLAN with IPv6",
        "TCP without ports",
        "TCP without ports over IPv6",
        "options cut off",
        "options beyond the end",
        "options without end",
        "routing header",
    ],
)
def test_what_is_not_ours_passes_unchanged(programs: Programs, name: str, data: bytes) -> None:
    """Other protocols and packets too short to read are left to the stack, and counted."""
    assert programs.run(name, data) == (LET_THROUGH, data, {"passed_other"})
