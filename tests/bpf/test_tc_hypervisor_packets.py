"""One packet in, a verdict and a packet out: what the hypervisor translates, and which replies it leaves alone."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_programs import IPV4, IPV6, LET_THROUGH, NEEDS, Family, Programs
from tests.bpf.packets import (
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

pytestmark = NEEDS


@pytest.mark.parametrize("flags", [SYN, ACK])
def test_tcp_is_taken_out_of_the_tunnel_and_translated(programs: Programs, family: Family, flags: int) -> None:
    """The instance gets the client's packet at its own address and target port, unchanged but for that."""
    delivered = programs.deliver(tcp(family.to_web, flags))

    assert delivered.ends == family.at_web
    assert delivered == read(tcp(family.at_web, flags))


@pytest.mark.parametrize("with_checksum", [True, False])
def test_udp_is_translated(programs: Programs, family: Family, with_checksum: bool) -> None:
    """UDP too; a datagram without a checksum stays without one."""
    delivered = programs.deliver(udp(family.to_dns, with_checksum=with_checksum))

    assert delivered == read(udp(family.at_dns, with_checksum=with_checksum))


def test_packets_with_ip_options_are_translated(programs: Programs, family: Family) -> None:
    """Options in the tunnel's header and in the inner one are stepped over."""
    segment = tcp(family.to_web)[family.header :]
    inner = ip(family.client, family.vip, TCP, segment, options=b"\1\1\1\0")
    outer = ip(family.tunnel_sources[1], family.instance, family.tunnel, inner, options=b"\1\1\1\0" * 2)

    verdict, left, moved = programs.uplink(outer)

    assert verdict == LET_THROUGH
    assert read(left[len(ETHERNET) :]).ends == family.at_web
    assert moved == {"decapsulated", "translated"}


def test_an_encapsulation_limit_is_stepped_over(programs: Programs) -> None:
    """What Linux's own IPv6 tunnels put between the headers (RFC 2473 4.1.1) is taken off with them."""
    inner = tcp(IPV6.to_web)

    verdict, left, _ = programs.uplink(ip("2001:db8:99::1", IPV6.instance, 41, inner, options=b"\4\1\4"))

    assert verdict == LET_THROUGH
    assert left == frame(tcp(IPV6.at_web))


def test_tunnels_across_families_are_left_alone(programs: Programs) -> None:
    """A rule's VIP and instance are of one family, and so are the headers of its tunnel."""
    for outer in (
        ip("10.99.1.2", IPV4.instance, 41, tcp(IPV6.to_web)),
        ip("2001:db8:99::1", IPV6.instance, 4, tcp(IPV4.to_web)),
    ):
        assert programs.uplink(outer) == (LET_THROUGH, frame(outer), {"passed_other"})


def test_replies_leave_as_the_vip(programs: Programs, family: Family) -> None:
    """A reply of a connection that came through the tunnel has VIP and service port as its source."""
    programs.deliver(tcp(family.to_web, SYN))
    programs.deliver(udp(family.to_dns))

    assert programs.reply(tcp(family.at_web.reversed())) == read(tcp(family.to_web.reversed()))
    assert programs.reply(udp(family.at_dns.reversed())) == read(udp(family.to_dns.reversed()))
    unsummed = udp(family.at_dns.reversed(), with_checksum=False)
    assert programs.reply(unsummed) == read(udp(family.to_dns.reversed(), with_checksum=False))


def test_the_service_used_last_answers(programs: Programs, family: Family) -> None:
    """Two services with one target: a client that uses the second from the same port hears from the second."""
    second = Ends(family.client, family.to_web.source_port, family.vip, 8000)
    programs.deliver(tcp(family.to_web, SYN))

    programs.deliver(tcp(second, SYN))

    assert programs.reply(tcp(family.at_web.reversed(), SYN_ACK)).ends == second.reversed()
    assert programs.flows() == 1


def test_other_packets_of_the_instance_are_left_alone(programs: Programs, family: Family) -> None:
    """Without a flow, with another client port or another protocol, nothing is translated."""
    programs.deliver(tcp(family.to_web, SYN))
    others = [
        tcp(Ends(family.instance, 8080, family.client, 40009)),
        udp(family.at_web.reversed()),
        tcp(Ends(family.neighbour, 8080, family.client, 40000)),
        ip(family.instance, family.client, 47, b"gre"),
    ]

    for packet in others:
        assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


def test_a_direct_syn_makes_the_flow_forgotten(programs: Programs, family: Family) -> None:
    """A client that connects to the instance itself, from the port it had used through the VIP, is left alone."""
    programs.deliver(tcp(family.to_web, SYN))

    verdict, left, moved = programs.uplink(tcp(family.at_web, SYN))

    assert (verdict, left) == (LET_THROUGH, frame(tcp(family.at_web, SYN)))
    assert moved == {"passed_other", "direct_flow_forgotten"}
    assert programs.reply(tcp(family.at_web.reversed(), SYN_ACK)).source == family.instance


def test_direct_udp_makes_the_flow_forgotten_until_the_tunnel_is_used_again(programs: Programs, family: Family) -> None:
    """UDP has no beginning: the latest packet's way in decides the reply's way out."""
    programs.deliver(udp(family.to_dns))
    programs.uplink(udp(family.at_dns))
    assert programs.reply(udp(family.at_dns.reversed())).source == family.instance

    programs.deliver(udp(family.to_dns))

    assert programs.reply(udp(family.at_dns.reversed())).source == family.vip


def test_a_direct_packet_amid_a_connection_changes_nothing(programs: Programs, family: Family) -> None:
    """Only a SYN begins a TCP connection: a stray ACK must not cut one that came through the tunnel."""
    programs.deliver(tcp(family.to_web, SYN))

    programs.uplink(tcp(family.at_web, ACK))
    programs.uplink(tcp(family.at_web, SYN_ACK))

    assert programs.reply(tcp(family.at_web.reversed())).source == family.vip


def test_a_later_fragment_makes_nothing_forgotten(programs: Programs, family: Family) -> None:
    """What stands where ports would is payload, even when it looks like the ports of a flow."""
    programs.deliver(udp(family.to_dns))

    programs.uplink(ip(family.client, family.instance, UDP, udp(family.at_dns)[family.header :], fragment=0x0001))

    assert programs.flows() == 1


def test_an_instance_that_connects_from_its_service_port_is_left_alone(programs: Programs, family: Family) -> None:
    """The instance's own SYN is no reply, and ends what its ports meant before."""
    programs.deliver(tcp(family.to_web, SYN))

    assert programs.reply(tcp(family.at_web.reversed(), SYN)).source == family.instance
    assert programs.flows() == 0


def test_a_neighbour_on_the_same_host_may_connect_directly(programs: Programs, family: Family) -> None:
    """A direct SYN that comes from another instance's interface makes the flow forgotten as well."""
    through, direct = (
        Ends(family.neighbour, 40000, family.vip, 80),
        Ends(family.neighbour, 40000, family.instance, 8080),
    )
    programs.deliver(tcp(through, SYN))
    assert programs.reply(tcp(direct.reversed(), SYN_ACK)).source == family.vip

    programs.instance(tcp(direct, SYN))

    assert programs.reply(tcp(direct.reversed(), SYN_ACK)).source == family.instance


def test_fragments_of_a_reply_all_leave_as_the_vip(programs: Programs, family: Family) -> None:
    """The later fragments, which have no ports, follow the first; those of other packets are left alone."""
    programs.deliver(udp(family.to_dns))
    later = ip(family.instance, family.client, UDP, b"x" * 16, fragment=0x0003)
    foreign = ip(family.instance, family.client, UDP, b"x" * 16, fragment=0x0003, packet_id=8)

    first = programs.reply(udp(family.at_dns.reversed(), payload=b"x" * 16, fragment=0x2000))

    assert first.payload == udp(family.to_dns.reversed(), payload=b"x" * 16)[family.header :]
    assert programs.reply(later).source == family.vip
    assert programs.reply(foreign).source == family.instance


def test_congestion_met_in_the_tunnel_reaches_the_instance(programs: Programs, family: Family) -> None:
    """The outer header's "congestion experienced" is copied inward when the inner packet is ECN-capable (RFC 6040)."""
    inner = ip(family.client, family.vip, TCP, tcp(family.to_web)[family.header :], tos=2)

    _, left, _ = programs.uplink(tunnelled(family.instance, inner, tos=3))

    assert read(left[len(ETHERNET) :]).tos == 3
