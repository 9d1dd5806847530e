"""One packet in, a verdict and a packet out: the hypervisor's programs through BPF_PROG_TEST_RUN."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.bpf.hypervisor_packets import (
    ACK,
    ETHERNET,
    ICMP,
    SYN,
    SYN_ACK,
    TCP,
    UDP,
    Ends,
    Packet,
    frame,
    icmp_error,
    ip,
    read,
    tcp,
    tunnelled,
    udp,
)

from bascule import native
from bascule.forwarding.ebpf import layout
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol
from bascule.system import bpf

OBJECT = native.DIRECTORY / "tc_hypervisor.bpf.o"
DROPPED, LET_THROUGH = 2, 0xFFFFFFFF  # TC_ACT_SHOT, TC_ACT_UNSPEC
CLIENT, ROUTER = IPv4Address("198.51.100.2"), IPv4Address("192.0.2.1")
VIP = IPv4Address("203.0.113.10")
INSTANCE, NEIGHBOUR = IPv4Address("10.128.0.11"), IPv4Address("10.128.0.12")
WEB = ForwardingRule(VIP, Protocol.TCP, 80, INSTANCE, 8080)
DNS = ForwardingRule(VIP, Protocol.UDP, 53, INSTANCE, 5353)
TO_WEB, AT_WEB = Ends(CLIENT, 40000, VIP, 80), Ends(CLIENT, 40000, INSTANCE, 8080)
TO_DNS, AT_DNS = Ends(CLIENT, 40001, VIP, 53), Ends(CLIENT, 40001, INSTANCE, 5353)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for BPF"),
    pytest.mark.skipif(not OBJECT.exists(), reason="needs tc_hypervisor.bpf.o: run `make native`"),
]


class Programs:
    """Both programs with the rules above, and the changes each run makes to the counters."""

    def __init__(self) -> None:
        settings = layout.settings([IPv4Network("10.98.0.0/24"), IPv4Network("10.99.0.0/16")], 1480)
        self._object = bpf.BpfObject(OBJECT, read_only_data=settings)
        for key, value in layout.rules([WEB, DNS]).items():
            self._object.map("rules").set(key, value)
        self._object.map("instances").set(INSTANCE.packed, layout.number(9))

    def close(self) -> None:
        self._object.close()

    def flows(self) -> int:
        """How many flows are known."""
        return len(self._object.map("flows").items())

    def counters(self) -> dict[str, int]:
        counters = self._object.map("counters")
        return {n: layout.total(counters.get_per_cpu(layout.number(i))) for i, n in enumerate(layout.COUNTERS)}

    def run(self, name: str, data: bytes) -> tuple[int, bytes, set[str]]:
        """The verdict, the frame that is left, and the names of the counters that moved."""
        before = self.counters()
        verdict, left, _ = bpf.test_run(self._object.program(name), data)
        moved = {key for key, value in self.counters().items() if value != before[key]}
        return verdict, left, moved

    def uplink(self, packet: bytes) -> tuple[int, bytes, set[str]]:
        return self.run("hypervisor_uplink", frame(packet))

    def instance(self, packet: bytes) -> tuple[int, bytes, set[str]]:
        return self.run("hypervisor_instance", frame(packet))

    def deliver(self, packet: bytes) -> Packet:
        """What the stack gets of a packet that comes through the tunnel."""
        verdict, left, _ = self.uplink(tunnelled(INSTANCE, packet))
        assert verdict == LET_THROUGH
        return read(left[len(ETHERNET) :])

    def reply(self, packet: bytes) -> Packet:
        """What the stack gets of a packet that the instance sends."""
        verdict, left, _ = self.instance(packet)
        assert verdict == LET_THROUGH
        return read(left[len(ETHERNET) :])


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Freshly loaded programs."""
    loaded = Programs()
    yield loaded
    loaded.close()


def tcp_with_options(options: bytes) -> bytes:
    return tcp(AT_WEB.reversed(), SYN_ACK, options=options, payload=b"")


def mss(value: int) -> bytes:
    return b"\2\4" + value.to_bytes(2, "big")


@pytest.mark.parametrize("flags", [SYN, ACK])
def test_tcp_is_taken_out_of_the_tunnel_and_translated(programs: Programs, flags: int) -> None:
    """The instance gets the client's packet at its own address and target port, unchanged but for that."""
    delivered = programs.deliver(tcp(TO_WEB, flags))

    assert delivered.ends == AT_WEB
    assert delivered == read(tcp(AT_WEB, flags))


@pytest.mark.parametrize("with_checksum", [True, False])
def test_udp_is_translated(programs: Programs, with_checksum: bool) -> None:
    """UDP too; a datagram without a checksum stays without one."""
    delivered = programs.deliver(udp(TO_DNS, with_checksum=with_checksum))

    assert delivered == read(udp(AT_DNS, with_checksum=with_checksum))


def test_packets_with_ip_options_are_translated(programs: Programs) -> None:
    """Options in the tunnel's header and in the inner one are stepped over."""
    segment = tcp(TO_WEB)[20:]
    inner = ip(CLIENT, VIP, TCP, segment, options=b"\1\1\1\0")
    outer = ip("10.99.0.1", INSTANCE, 4, inner, options=b"\1\1\1\0" * 2)

    verdict, left, moved = programs.uplink(outer)

    assert verdict == LET_THROUGH
    assert read(left[len(ETHERNET) :]).ends == AT_WEB
    assert moved == {"decapsulated", "translated"}


def test_replies_leave_as_the_vip(programs: Programs) -> None:
    """A reply of a connection that came through the tunnel has VIP and service port as its source."""
    programs.deliver(tcp(TO_WEB, SYN))
    programs.deliver(udp(TO_DNS))

    assert programs.reply(tcp(AT_WEB.reversed())) == read(tcp(TO_WEB.reversed()))
    assert programs.reply(udp(AT_DNS.reversed())) == read(udp(TO_DNS.reversed()))
    unsummed = udp(AT_DNS.reversed(), with_checksum=False)
    assert programs.reply(unsummed) == read(udp(TO_DNS.reversed(), with_checksum=False))


def test_other_packets_of_the_instance_are_left_alone(programs: Programs) -> None:
    """Without a flow, with another client port or another protocol, nothing is translated."""
    programs.deliver(tcp(TO_WEB, SYN))
    others = [
        tcp(Ends(INSTANCE, 8080, CLIENT, 40009)),
        udp(AT_WEB.reversed()),
        tcp(Ends(NEIGHBOUR, 8080, CLIENT, 40000)),
        ip(INSTANCE, CLIENT, 47, b"gre"),
    ]

    for packet in others:
        assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


def test_a_direct_syn_makes_the_flow_forgotten(programs: Programs) -> None:
    """A client that connects to the instance itself, from the port it had used through the VIP, is left alone."""
    programs.deliver(tcp(TO_WEB, SYN))

    verdict, left, moved = programs.uplink(tcp(AT_WEB, SYN))

    assert (verdict, left) == (LET_THROUGH, frame(tcp(AT_WEB, SYN)))
    assert moved == {"passed_other", "direct_flow_forgotten"}
    assert programs.reply(tcp(AT_WEB.reversed(), SYN_ACK)).source == INSTANCE


def test_direct_udp_makes_the_flow_forgotten_until_the_tunnel_is_used_again(programs: Programs) -> None:
    """UDP has no beginning: the latest packet's way in decides the reply's way out."""
    programs.deliver(udp(TO_DNS))
    programs.uplink(udp(AT_DNS))
    assert programs.reply(udp(AT_DNS.reversed())).source == INSTANCE

    programs.deliver(udp(TO_DNS))

    assert programs.reply(udp(AT_DNS.reversed())).source == VIP


def test_a_direct_packet_amid_a_connection_changes_nothing(programs: Programs) -> None:
    """Only a SYN begins a TCP connection: a stray ACK must not cut one that came through the tunnel."""
    programs.deliver(tcp(TO_WEB, SYN))

    programs.uplink(tcp(AT_WEB, ACK))
    programs.uplink(tcp(AT_WEB, SYN_ACK))

    assert programs.reply(tcp(AT_WEB.reversed())).source == VIP


def test_an_instance_that_connects_from_its_service_port_is_left_alone(programs: Programs) -> None:
    """The instance's own SYN is no reply, and ends what its ports meant before."""
    programs.deliver(tcp(TO_WEB, SYN))

    assert programs.reply(tcp(AT_WEB.reversed(), SYN)).source == INSTANCE
    assert programs.flows() == 0


def test_a_neighbour_on_the_same_host_may_connect_directly(programs: Programs) -> None:
    """A direct SYN that comes from another instance's interface makes the flow forgotten as well."""
    through, direct = Ends(NEIGHBOUR, 40000, VIP, 80), Ends(NEIGHBOUR, 40000, INSTANCE, 8080)
    programs.deliver(tcp(through, SYN))
    assert programs.reply(tcp(direct.reversed(), SYN_ACK)).source == VIP

    programs.instance(tcp(direct, SYN))

    assert programs.reply(tcp(direct.reversed(), SYN_ACK)).source == INSTANCE


@pytest.mark.parametrize(
    "options",
    [mss(1460), b"\1\1\1\1" + mss(1460), b"\1" + mss(1460) + b"\1\1\1", b"\4\2" + mss(9000) + b"\3\3\7\0\0\0"],
    ids=["first", "after words of padding", "at an odd offset", "after another option"],
)
def test_the_mss_is_clamped(programs: Programs, options: bytes) -> None:
    """What the instance offers to receive is cut to what fits the tunnel, wherever the option stands."""
    programs.deliver(tcp(TO_WEB, SYN))

    verdict, left, moved = programs.instance(tcp_with_options(options))

    assert verdict == LET_THROUGH
    assert read(left[len(ETHERNET) :]).payload[20:] == options.replace(mss(1460), mss(1440)).replace(
        mss(9000), mss(1440)
    )
    assert moved == {"replied", "mss_clamped"}


@pytest.mark.parametrize(
    "options",
    [
        b"",
        mss(1440),
        mss(536),
        b"\2\3\5\0",
        b"\2\0\5\0",
        b"\2\x28\5\xb4",
        b"\0" * 4 + mss(1460),
        b"\1" * 40,
        b"\1\1\1\2",
    ],
    ids=["none", "equal", "small", "short", "no length", "too long", "after the end", "padding only", "cut off"],
)
def test_other_options_are_left_alone(programs: Programs, options: bytes) -> None:
    """A small enough MSS stays, and so does anything that is malformed."""
    programs.deliver(tcp(TO_WEB, SYN))

    assert programs.reply(tcp_with_options(options)).payload[20:] == options


def test_the_mss_of_direct_connections_is_left_alone(programs: Programs) -> None:
    """Only replies that go out as the VIP are clamped."""
    packet = tcp_with_options(mss(1460))

    assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


@pytest.mark.parametrize("kind", [3, 11, 12])
@pytest.mark.parametrize("quoted", [28, 60], ids=["eight bytes quoted", "all quoted"])
@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (tcp(TO_WEB.reversed(), payload=b"x" * 60), tcp(AT_WEB.reversed(), payload=b"x" * 60)),
        (udp(TO_DNS.reversed(), payload=b"x" * 60), udp(AT_DNS.reversed(), payload=b"x" * 60)),
        (
            udp(TO_DNS.reversed(), with_checksum=False, payload=b"x" * 60),
            udp(AT_DNS.reversed(), with_checksum=False, payload=b"x" * 60),
        ),
    ],
    ids=["tcp", "udp", "udp without checksum"],
)
def test_errors_about_replies_reach_the_instance(
    programs: Programs, kind: int, quoted: int, about: bytes, expected: bytes
) -> None:
    """An ICMP error that comes through the tunnel quotes the reply as the instance had sent it."""
    verdict, left, moved = programs.uplink(tunnelled(INSTANCE, icmp_error(ROUTER, about[:quoted], kind=kind)))

    delivered = read(left[len(ETHERNET) :])
    assert verdict == LET_THROUGH
    assert (delivered.source, delivered.destination) == (ROUTER, INSTANCE)
    assert delivered.payload[8:] == expected[:quoted]
    assert moved == {"decapsulated", "icmp_translated"}


def test_errors_of_the_instance_reach_the_client(programs: Programs) -> None:
    """ "Port unreachable" comes from the VIP and quotes what the client had sent."""
    programs.deliver(udp(TO_DNS))

    sent = programs.reply(icmp_error(INSTANCE, udp(AT_DNS), code=3))

    assert (sent.source, sent.destination) == (VIP, CLIENT)
    assert sent.payload[8:] == udp(TO_DNS)


def test_errors_of_the_instance_about_direct_packets_are_left_alone(programs: Programs) -> None:
    """Without a flow the error passes as it is; so does a ping."""
    for packet in (icmp_error(INSTANCE, udp(AT_DNS), code=3), ip(INSTANCE, CLIENT, ICMP, b"\0\0\xff\xff\0\0\0\0")):
        assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


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
        ip(CLIENT, VIP, TCP, b"\0\x50"),
        tcp(TO_WEB)[:30],
    ],
    ids=["empty", "one byte", "version 0", "short header", "IPv6", "no ports", "no TCP checksum"],
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


def test_fragments_of_a_reply_all_leave_as_the_vip(programs: Programs) -> None:
    """The later fragments, which have no ports, follow the first; those of other packets are left alone."""
    programs.deliver(udp(TO_DNS))
    later = ip(INSTANCE, CLIENT, UDP, b"x" * 16, fragment=0x0003)
    foreign = ip(INSTANCE, CLIENT, UDP, b"x" * 16, fragment=0x0003, packet_id=8)

    first = programs.reply(udp(AT_DNS.reversed(), payload=b"x" * 16, fragment=0x2000))

    assert first.payload == udp(TO_DNS.reversed(), payload=b"x" * 16)[20:]
    assert programs.reply(later).source == VIP
    assert programs.reply(foreign).source == INSTANCE


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


def test_congestion_met_in_the_tunnel_reaches_the_instance(programs: Programs) -> None:
    """The outer header's "congestion experienced" is copied inward when the inner packet is ECN-capable (RFC 6040)."""
    inner = ip(CLIENT, VIP, TCP, tcp(TO_WEB)[20:], tos=2)

    _, left, _ = programs.uplink(tunnelled(INSTANCE, inner, tos=3))

    assert read(left[len(ETHERNET) :]).tos == 3


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
