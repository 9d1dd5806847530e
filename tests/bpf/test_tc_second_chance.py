"""One packet with two headers in, a verdict and a packet out: who gets it, the first instance or the second."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_programs import DROPPED, LET_THROUGH, NEEDS, Family, Programs
from tests.bpf.packets import (
    ACK,
    ETHERNET,
    FIN,
    RST,
    SYN,
    Ends,
    frame,
    icmp_error,
    ip,
    read,
    tcp,
    tunnelled,
    tunnelled_twice,
    udp,
)

pytestmark = NEEDS

KEPT = {"decapsulated", "second_chance_kept", "translated"}
PASSED_ON = {"decapsulated", "second_chance_passed"}
HOURS = 3600.0


def twice(family: Family, inner: bytes) -> bytes:
    """To the instance of this host, or else to one that is elsewhere."""
    return tunnelled_twice(family.instance, family.neighbour, inner)


def assert_kept(programs: Programs, family: Family, inner: bytes) -> None:
    verdict, left, moved = programs.uplink(twice(family, inner))
    assert (verdict, moved) == (LET_THROUGH, KEPT)
    assert read(left[len(ETHERNET) :]).destination == family.instance


def assert_passed_on(programs: Programs, family: Family, inner: bytes) -> None:
    assert programs.uplink(twice(family, inner)) == (LET_THROUGH, frame(tunnelled(family.neighbour, inner)), PASSED_ON)


def test_the_instance_that_has_the_flow_keeps_the_packet(programs: Programs, family: Family) -> None:
    """Both headers are taken off, and the packet is translated as if it had had one."""
    programs.deliver(tcp(family.to_web, SYN))
    programs.deliver(udp(family.to_dns))

    for inner, there in (
        (tcp(family.to_web, ACK), tcp(family.at_web, ACK)),
        (udp(family.to_dns), udp(family.at_dns)),
    ):
        assert programs.uplink(twice(family, inner)) == (LET_THROUGH, frame(there), KEPT)


def test_what_the_first_instance_does_not_know_is_sent_on(programs: Programs, family: Family) -> None:
    """Without its flow the packet leaves in its second tunnel, untouched, and no flow is remembered here."""
    programs.deliver(tcp(family.to_web, SYN))
    for inner in (
        tcp(Ends(family.client, 40009, family.vip, 80)),
        tcp(Ends(family.router, 40000, family.vip, 80)),
        tcp(Ends(family.client, 40000, family.vip, 81)),
        udp(family.to_dns),
        ip(family.client, family.vip, 47, b"gre"),
        b"",
    ):
        assert_passed_on(programs, family, inner)
    assert programs.flows() == 1


def test_a_flow_through_another_service_is_another_flow(programs: Programs, family: Family) -> None:
    """Two services with one target: what the client's port last used is what counts."""
    programs.deliver(tcp(family.to_web, SYN))

    assert_passed_on(programs, family, tcp(Ends(family.client, 40000, family.vip, 8000)))


def test_the_second_instance_may_be_on_the_same_host(programs: Programs, family: Family) -> None:
    """Then it gets the packet at once, and is the one that has the flow."""
    programs.add_instance(family, family.neighbour)

    verdict, left, moved = programs.uplink(twice(family, tcp(family.to_web)))

    at_neighbour = Ends(family.client, 40000, family.neighbour, 8080)
    assert (verdict, left, moved) == (LET_THROUGH, frame(tcp(at_neighbour)), {*PASSED_ON, "translated"})
    assert read(programs.instance(tcp(at_neighbour.reversed()))[1][len(ETHERNET) :]).source == family.vip


def test_an_error_goes_where_the_flow_is(programs: Programs, family: Family) -> None:
    """An ICMP error quotes a reply, by which its flow is known."""
    programs.deliver(tcp(family.to_web, SYN))
    known = icmp_error(family.router, tcp(family.to_web.reversed()))
    unknown = icmp_error(family.router, tcp(Ends(family.vip, 80, family.client, 40009)))

    verdict, left, moved = programs.uplink(twice(family, known))

    assert (verdict, moved) == (LET_THROUGH, {"decapsulated", "second_chance_kept", "icmp_translated"})
    assert read(left[len(ETHERNET) :]).quote.ends == family.at_web.reversed()
    assert_passed_on(programs, family, unknown)


@pytest.mark.parametrize("flags", [FIN | ACK, RST])
@pytest.mark.parametrize("end", [1, 5_000_000, 2**31, 2**32 - 5])
def test_a_connection_that_is_over_lets_go_of_its_port(
    programs: Programs, family: Family, flags: int, end: int
) -> None:
    """After FIN or RST of its client it keeps what is numbered before that; what comes later is another's."""
    programs.deliver(tcp(family.to_web, SYN))
    assert_kept(programs, family, tcp(family.to_web, flags, sequence=end))

    for sequence in (end, end + 6, end - 4_000_000):
        assert_kept(programs, family, tcp(family.to_web, sequence=sequence % 2**32))
    for sequence in (end + 150_000, end + 2**30, end - 5_000_000):
        assert_passed_on(programs, family, tcp(family.to_web, sequence=sequence % 2**32))


def test_an_end_that_was_none_is_forgotten(programs: Programs, family: Family) -> None:
    """The flow goes on here: its SYN came another way, or the RST was forged."""
    programs.deliver(tcp(family.to_web, SYN, sequence=7_000_000))
    programs.deliver(tcp(family.to_web, RST, sequence=99))
    assert_passed_on(programs, family, tcp(family.to_web, sequence=7_000_001))

    programs.deliver(tcp(family.to_web, sequence=7_000_001))

    assert_kept(programs, family, tcp(family.to_web, sequence=7_000_001))


def test_the_same_port_begins_anew(programs: Programs, family: Family) -> None:
    """A connection to the same instance from the port of one that is over is alive."""
    programs.deliver(tcp(family.to_web, SYN))
    programs.deliver(tcp(family.to_web, FIN | ACK))

    programs.deliver(tcp(family.to_web, SYN, sequence=2))

    assert_kept(programs, family, tcp(family.to_web, sequence=2**31))


def test_a_connection_that_the_instance_denies_is_over(programs: Programs, family: Family) -> None:
    """It answers with RST, translated as ever, to what it has no connection for."""
    programs.deliver(tcp(family.to_web, SYN))

    verdict, left, _ = programs.instance(tcp(family.at_web.reversed(), RST))

    assert (verdict, read(left[len(ETHERNET) :]).source) == (LET_THROUGH, family.vip)
    assert_passed_on(programs, family, tcp(family.to_web))


def test_an_error_says_nothing_about_an_end(programs: Programs, family: Family) -> None:
    """It quotes the instance's numbers, not the client's: once the connection is over it is sent on."""
    programs.deliver(tcp(family.to_web, SYN))
    programs.deliver(tcp(family.to_web, FIN | ACK))

    assert_passed_on(programs, family, icmp_error(family.router, tcp(family.to_web.reversed())))


def test_a_silent_connection_is_kept_for_hours(programs: Programs, family: Family) -> None:
    """Longer than keepalive's usual two hours; of UDP a minute's silence is enough to take it for over."""
    programs.deliver(tcp(family.to_web, SYN))
    programs.deliver(udp(family.to_dns))
    programs.let_pass(family, 40)
    assert_kept(programs, family, udp(family.to_dns))

    programs.let_pass(family, 2 * HOURS)
    assert_kept(programs, family, tcp(family.to_web))
    assert_passed_on(programs, family, udp(family.to_dns))
    programs.let_pass(family, 4 * HOURS)

    assert_passed_on(programs, family, tcp(family.to_web))


def test_flows_of_an_older_release_are_alive(programs: Programs, family: Family) -> None:
    """It kept no time in what it remembered, and those connections live on through the upgrade."""
    programs.deliver(tcp(family.to_web, SYN))
    programs.let_pass(family, -1)

    assert_kept(programs, family, tcp(family.to_web))


def test_a_foreign_second_header_is_no_second_chance(programs: Programs, family: Family) -> None:
    """Only LB nodes give one: a client's own tunnel to the VIP is dropped for want of a rule."""
    foreign = tunnelled(family.neighbour, tcp(family.to_web), source=family.foreign_source)

    verdict, _, moved = programs.uplink(tunnelled(family.instance, foreign))

    assert (verdict, moved) == (DROPPED, {"decapsulated", "dropped_no_rule"})


def test_fragments_have_no_second_chance(programs: Programs, family: Family) -> None:
    """LB nodes send none, neither as the second tunnel nor inside."""
    programs.deliver(udp(family.to_dns))
    inner = udp(family.to_dns)
    source = family.tunnel_sources[1]
    second = ip(source, family.neighbour, family.tunnel, inner, fragment=0x2000)

    assert programs.uplink(tunnelled(family.instance, second))[::2] == (DROPPED, {"decapsulated", "dropped_fragment"})
    assert_passed_on(programs, family, udp(family.to_dns, fragment=0x2000))


def test_congestion_in_both_tunnels_is_told(programs: Programs, family: Family) -> None:
    """RFC 6040: what either tunnel met reaches the receiver, or the second tunnel."""
    programs.deliver(tcp(family.to_web, SYN))
    capable = ip(family.client, family.vip, 6, tcp(family.to_web)[family.header :], tos=1)
    for outer_tos, second_tos in ((3, 1), (1, 3)):
        second = tunnelled(family.neighbour, capable, tos=second_tos)
        _, left, moved = programs.uplink(tunnelled(family.instance, second, tos=outer_tos))
        assert (read(left[len(ETHERNET) :]).tos, moved) == (3, KEPT)
    other = ip(family.client, family.vip, 6, tcp(Ends(family.client, 9, family.vip, 80))[family.header :], tos=1)
    _, left, moved = programs.uplink(tunnelled(family.instance, tunnelled(family.neighbour, other, tos=1), tos=3))
    assert (read(left[len(ETHERNET) :]).tos, moved) == (3, PASSED_ON)
