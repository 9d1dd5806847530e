"""One packet in, a verdict and a packet out: what the hypervisor translates, and which replies it leaves alone."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_packets import (
    ACK,
    ETHERNET,
    SYN,
    SYN_ACK,
    TCP,
    UDP,
    Ends,
    frame,
    ip,
    read,
    tcp,
    tunnelled,
    udp,
)
from tests.bpf.hypervisor_programs import (
    AT_DNS,
    AT_WEB,
    CLIENT,
    INSTANCE,
    LET_THROUGH,
    NEEDS,
    NEIGHBOUR,
    TO_DNS,
    TO_WEB,
    VIP,
    Programs,
)

pytestmark = NEEDS


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


def test_the_service_used_last_answers(programs: Programs) -> None:
    """Two services with one target: a client that uses the second from the same port hears from the second."""
    second = Ends(CLIENT, TO_WEB.source_port, VIP, 8000)
    programs.deliver(tcp(TO_WEB, SYN))

    programs.deliver(tcp(second, SYN))

    assert programs.reply(tcp(AT_WEB.reversed(), SYN_ACK)).ends == second.reversed()
    assert programs.flows() == 1


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


def test_a_later_fragment_makes_nothing_forgotten(programs: Programs) -> None:
    """What stands where ports would is payload, even when it looks like the ports of a flow."""
    programs.deliver(udp(TO_DNS))

    programs.uplink(ip(CLIENT, INSTANCE, UDP, udp(AT_DNS)[20:], fragment=0x0001))

    assert programs.flows() == 1


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


def test_fragments_of_a_reply_all_leave_as_the_vip(programs: Programs) -> None:
    """The later fragments, which have no ports, follow the first; those of other packets are left alone."""
    programs.deliver(udp(TO_DNS))
    later = ip(INSTANCE, CLIENT, UDP, b"x" * 16, fragment=0x0003)
    foreign = ip(INSTANCE, CLIENT, UDP, b"x" * 16, fragment=0x0003, packet_id=8)

    first = programs.reply(udp(AT_DNS.reversed(), payload=b"x" * 16, fragment=0x2000))

    assert first.payload == udp(TO_DNS.reversed(), payload=b"x" * 16)[20:]
    assert programs.reply(later).source == VIP
    assert programs.reply(foreign).source == INSTANCE


def test_congestion_met_in_the_tunnel_reaches_the_instance(programs: Programs) -> None:
    """The outer header's "congestion experienced" is copied inward when the inner packet is ECN-capable (RFC 6040)."""
    inner = ip(CLIENT, VIP, TCP, tcp(TO_WEB)[20:], tos=2)

    _, left, _ = programs.uplink(tunnelled(INSTANCE, inner, tos=3))

    assert read(left[len(ETHERNET) :]).tos == 3
