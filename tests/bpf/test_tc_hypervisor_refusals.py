"""One packet in, a verdict and a packet out: what the hypervisor drops, and what is none of its business."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_packets import (
    ETHERNET,
    ICMP,
    TCP,
    UDP,
    Ends,
    frame,
    icmp_error,
    ip,
    tcp,
    tunnelled,
    udp,
)
from tests.bpf.hypervisor_programs import (
    CLIENT,
    DROPPED,
    INSTANCE,
    LET_THROUGH,
    NEEDS,
    NEIGHBOUR,
    ROUTER,
    TO_DNS,
    TO_WEB,
    VIP,
    Programs,
)

pytestmark = NEEDS


@pytest.mark.parametrize(
    "inner",
    [
        tcp(Ends(CLIENT, 40000, VIP, 81)),
        udp(Ends(CLIENT, 40000, VIP, 80)),
        tcp(Ends(CLIENT, 40000, NEIGHBOUR, 80)),
        ip(CLIENT, VIP, ICMP, b"\x08\0\xf7\xff\0\0\0\0"),
        ip(CLIENT, VIP, 47, b"gre"),
        icmp_error(ROUTER, tcp(Ends(VIP, 81, CLIENT, 40000))),
        icmp_error(ROUTER, ip(VIP, CLIENT, 47, b"generic")),
        ip(ROUTER, VIP, ICMP, b"\3\4\xfc\xfb\0\0\0\0"),
        ip(ROUTER, NEIGHBOUR, ICMP, icmp_error(ROUTER, tcp(TO_WEB.reversed()))[20:]),
    ],
    ids=[
        "port",
        "protocol",
        "address",
        "ping",
        "gre",
        "error about no service",
        "error about gre",
        "error without quote",
        "error to another",
    ],
)
def test_what_no_rule_covers_is_dropped(programs: Programs, inner: bytes) -> None:
    """Out of the tunnel and without a rule a packet would circle between router and load balancer: it is dropped."""
    verdict, _, moved = programs.uplink(tunnelled(INSTANCE, inner))

    assert verdict == DROPPED
    assert moved == {"decapsulated", "dropped_no_rule"}


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        b"\x45",
        bytes(20),
        b"\x44" + bytes(30),
        b"\x60" + bytes(60),
        b"\x65" + tcp(TO_WEB)[1:],
        ip(CLIENT, VIP, TCP, b"\0\x50"),
        tcp(TO_WEB)[:30],
    ],
    ids=["empty", "one byte", "version 0", "short header", "IPv6", "version 6", "no ports", "no TCP checksum"],
)
def test_malformed_inner_packets_are_dropped(programs: Programs, inner: bytes) -> None:
    """A tunnel that holds no whole packet is dropped and counted, never read past its end."""
    verdict, _, moved = programs.uplink(tunnelled(INSTANCE, inner))

    assert verdict == DROPPED
    assert "dropped_malformed" in moved


@pytest.mark.parametrize("fragment", [0x2000, 0x2001, 0x0001])
def test_fragments_out_of_the_tunnel_are_dropped(programs: Programs, fragment: int) -> None:
    """LB nodes send no fragments on, and only the first of them would tell its port."""
    inner = ip(CLIENT, VIP, UDP, udp(TO_DNS)[20:], fragment=fragment)
    outer = ip("10.99.1.2", INSTANCE, 4, tcp(TO_WEB), fragment=fragment)

    assert programs.uplink(tunnelled(INSTANCE, inner))[::2] == (DROPPED, {"decapsulated", "dropped_fragment"})
    assert programs.uplink(outer)[::2] == (DROPPED, {"dropped_fragment"})


def test_tunnels_from_elsewhere_are_left_to_the_instance(programs: Programs) -> None:
    """IPIP from a source outside every allowed prefix is not ours to open."""
    packet = tunnelled(INSTANCE, tcp(TO_WEB), source="10.98.1.1")

    assert programs.uplink(packet) == (LET_THROUGH, frame(packet), {"passed_foreign_tunnel"})


def test_every_allowed_prefix_is_accepted(programs: Programs) -> None:
    """Tunnels may come from any of several prefixes."""
    for source in ("10.98.0.255", "10.99.255.255"):
        assert programs.uplink(tunnelled(INSTANCE, tcp(TO_WEB), source=source))[2] == {"decapsulated", "translated"}


def test_tunnels_to_others_are_left_alone(programs: Programs) -> None:
    """Only a registered instance's address ends a tunnel."""
    packet = tunnelled(NEIGHBOUR, tcp(TO_WEB))

    assert programs.uplink(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


@pytest.mark.parametrize("name", ["hypervisor_uplink", "hypervisor_instance"])
@pytest.mark.parametrize(
    "data",
    [
        ETHERNET[:12] + b"\x08\x06",
        frame(b"\x4f" + ip(CLIENT, INSTANCE, TCP, b"\0" * 8)[1:]),
        frame(b"\x44" + ip(CLIENT, INSTANCE, TCP, b"\0" * 8)[1:]),
        ETHERNET[:12] + b"\x08\x06" + bytes(28),
        ETHERNET[:12] + b"\x86\xdd\x60" + bytes(59),
        ETHERNET[:12] + b"\x81\x00\x00\x05\x08\x00" + tcp(TO_WEB),
        frame(ip(CLIENT, INSTANCE, TCP, b"\0")),
    ],
    ids=["empty", "cut off", "short header", "ARP", "IPv6", "VLAN", "TCP without ports"],
)
def test_what_is_not_ours_passes_unchanged(programs: Programs, name: str, data: bytes) -> None:
    """Other protocols and packets too short to read are left to the stack, and counted."""
    assert programs.run(name, data) == (LET_THROUGH, data, {"passed_other"})
