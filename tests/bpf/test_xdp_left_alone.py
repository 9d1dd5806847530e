"""What the XDP balancer leaves alone: frame in, the same frame out, and a counter that says why (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

import pytest

from bascule.dataplanes.xdp.driver import XdpDataPlane
from tests.bpf import packets
from tests.bpf.balancer_bench import CLIENT, V4, V6, VIP, XDP_DROP, XDP_PASS, Bench, reason_to_skip
from tests.bpf.packets import SYN, frame

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]

VIP_V6, CLIENT_V6 = IPv6Address("2001:db8:113::10"), IPv6Address("2001:db8:198::2")
# Two of its words are exchanged: the table of services is searched by their XOR.
NEARLY_VIP = IPv6Address("2001:db8:0:10:113::")
# An extension header of 8 bytes in front of TCP.
OPTIONS = b"\x06\0\x01\x04\0\0\0\0"
NDP = range(133, 138)


def of_type(ethernet_type: int, payload: bytes = bytes(46)) -> bytes:
    """A frame of some other protocol."""
    return frame(b"")[:12] + struct.pack("!H", ethernet_type) + payload


SYN_TO_WEB, SYN_TO_WEB_V6 = packets.tcp(V4.to_vip(), SYN), packets.tcp(V6.to_vip(), SYN)


def v6(protocol: int, payload: bytes) -> bytes:
    """A frame with an IPv6 packet from the client to the VIP."""
    return frame(packets.ip(CLIENT_V6, VIP_V6, protocol, payload))


@dataclass(frozen=True)
class Refused:
    """A frame that is not balanced, and the counter that says so."""

    sentence: str
    frame: bytes
    counter: str
    verdict: int = XDP_PASS


REFUSED = (
    Refused("a frame without a whole IP header", frame(SYN_TO_WEB)[:30], "passed_too_short"),
    Refused("an Ethernet header alone", frame(b""), "passed_too_short"),
    Refused("an IP packet longer than its frame", frame(SYN_TO_WEB)[:-4], "passed_too_short"),
    Refused("a TCP header cut off", frame(packets.ip(CLIENT, VIP, 6, bytes(12))), "passed_too_short"),
    Refused("a UDP header cut off", frame(packets.ip(CLIENT, VIP, 17, bytes(4))), "passed_too_short"),
    Refused("ARP", of_type(0x0806), "passed_arp"),
    Refused("a VLAN tag", of_type(0x8100), "passed_vlan"),
    Refused("a provider's VLAN tag", of_type(0x88A8), "passed_vlan"),
    Refused("LLDP", of_type(0x88CC), "passed_not_ip"),
    Refused("IPv4 by type, another version inside", frame(b"\x65" + SYN_TO_WEB[1:], version=4), "passed_not_ip"),
    Refused("IP options", frame(packets.ip(CLIENT, VIP, 6, bytes(20), options=b"\1" * 4)), "passed_ip_options"),
    Refused("a header length below the least", frame(b"\x44" + SYN_TO_WEB[1:]), "passed_ip_options"),
    Refused("a first fragment", frame(packets.ip(CLIENT, VIP, 17, bytes(64), fragment=0x2000)), "passed_fragment"),
    Refused("a later fragment", frame(packets.ip(CLIENT, VIP, 17, bytes(64), fragment=0x0008)), "passed_fragment"),
    Refused("GRE", frame(packets.ip(CLIENT, VIP, 47, bytes(64))), "passed_not_tcp_udp"),
    Refused("ping", frame(packets.ip(CLIENT, VIP, 1, b"\x08\0" + bytes(62))), "passed_icmp"),
    Refused("a port without service", frame(packets.tcp(V4.to_vip(82), SYN)), "passed_no_service"),
    Refused("UDP to a TCP service's port", frame(packets.udp(V4.to_vip(80))), "passed_no_service"),
    Refused("another address", frame(packets.tcp(V4.to_vip().reversed(), SYN)), "passed_no_service"),
    Refused("a service without backends", frame(packets.tcp(V4.to_vip(81), SYN)), "refused_no_backend"),
    Refused(
        "an ICMP error about a flow of somebody else",
        frame(packets.icmp_error("192.0.2.1", packets.tcp(V4.to_vip())[:28])),
        "passed_icmp",
    ),
    Refused(
        "a packet that would not fit and may not be told",
        frame(packets.udp(V4.to_vip(53), payload=bytes(1460))),
        "dropped_too_big",
        XDP_DROP,
    ),
)


REFUSED_V6 = (
    Refused("a frame without a whole IPv6 header", frame(SYN_TO_WEB_V6)[:50], "passed_too_short"),
    Refused("an IPv6 packet longer than its frame", frame(SYN_TO_WEB_V6)[:-4], "passed_too_short"),
    Refused("a TCP header cut off in IPv6", v6(6, bytes(12)), "passed_too_short"),
    Refused("a UDP header cut off in IPv6", v6(17, bytes(4)), "passed_too_short"),
    Refused("an ICMPv6 error without ports", v6(58, b"\1" + bytes(47)), "passed_too_short"),
    Refused("IPv6 by type, another version inside", frame(b"\x45" + SYN_TO_WEB_V6[1:], version=6), "passed_not_ip"),
    Refused("hop-by-hop options", v6(0, OPTIONS + SYN_TO_WEB_V6[40:]), "passed_ip_options"),
    Refused("a routing header", v6(43, OPTIONS + SYN_TO_WEB_V6[40:]), "passed_ip_options"),
    Refused("destination options", v6(60, OPTIONS + SYN_TO_WEB_V6[40:]), "passed_ip_options"),
    Refused("an IPv6 fragment", v6(44, b"\x11\0\0\x01\0\0\0\x07" + bytes(64)), "passed_fragment"),
    Refused("ESP", v6(50, bytes(64)), "passed_not_tcp_udp"),
    Refused("ping in IPv6", v6(58, b"\x80\0" + bytes(62)), "passed_icmp"),
    Refused("a port without service in IPv6", frame(packets.tcp(V6.to_vip(82), SYN)), "passed_no_service"),
    Refused("UDP to a TCP service's port in IPv6", frame(packets.udp(V6.to_vip(80))), "passed_no_service"),
    Refused(
        "an address that differs from a VIP, though not in the XOR of its words",
        frame(packets.tcp(packets.Ends(CLIENT_V6, 40000, NEARLY_VIP, 80), SYN)),
        "passed_no_service",
    ),
    Refused("an IPv6 service without backends", frame(packets.tcp(V6.to_vip(81), SYN)), "refused_no_backend"),
    Refused(
        "an ICMPv6 error about a flow of somebody else",
        frame(packets.icmp_error("2001:db8::1", packets.tcp(V6.to_vip())[:48])),
        "passed_icmp",
    ),
    *(Refused(f"neighbour discovery, type {kind}", v6(58, bytes([kind]) + bytes(31)), "passed_ndp") for kind in NDP),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, XdpDataPlane]]:
    with Bench(tmp_path_factory.mktemp("bench")) as bench:
        driver = bench.driver()
        bench.enforce(driver, *V4.services(), *V6.services())
        yield bench, driver


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_V6], ids=lambda case: case.sentence)
def test_what_is_not_balanced_is_counted_by_name(running: tuple[Bench, XdpDataPlane], case: Refused) -> None:
    """Every frame that is no packet of a service passes or drops on purpose, unchanged, with one named counter."""
    bench, driver = running
    verdict, left, moved = bench.run(driver, case.frame)
    assert (verdict, moved) == (case.verdict, {case.counter: 1})
    assert left == case.frame
