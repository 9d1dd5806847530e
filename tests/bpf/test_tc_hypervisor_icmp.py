"""One packet in, a verdict and a packet out: ICMP errors and the packets they quote."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_programs import LET_THROUGH, NEEDS, Family, Programs
from tests.bpf.packets import ETHERNET, frame, icmp_error, icmp_of, ip, read, tcp, tunnelled, udp

pytestmark = NEEDS


ABOUT = {
    "tcp": lambda ends: tcp(ends.reversed(), payload=b"x" * 60),
    "udp": lambda ends: udp(ends.reversed(), payload=b"x" * 60),
    "udp without checksum": lambda ends: udp(ends.reversed(), with_checksum=False, payload=b"x" * 60),
}


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("quoted", [8, 40], ids=["eight bytes quoted", "all quoted"])
@pytest.mark.parametrize("about", ABOUT)
def test_errors_about_replies_reach_the_instance(
    programs: Programs, family: Family, kind: int, quoted: int, about: str
) -> None:
    """An ICMP error that comes through the tunnel quotes the reply as the instance had sent it."""
    seen, sent = (
        ABOUT[about](ends)[: family.header + quoted]
        for ends in ((family.to_web, family.at_web) if about == "tcp" else (family.to_dns, family.at_dns))
    )
    error = icmp_error(family.router, seen, kind=family.icmp_errors[kind])

    verdict, left, moved = programs.uplink(tunnelled(family.instance, error))

    delivered = read(left[len(ETHERNET) :])
    assert verdict == LET_THROUGH
    assert (delivered.source, delivered.destination) == (family.router, family.instance)
    assert delivered.payload[8:] == sent
    assert moved == {"decapsulated", "icmp_translated"}


def test_errors_of_the_instance_reach_the_client(programs: Programs, family: Family) -> None:
    """ "Port unreachable" comes from the VIP and quotes what the client had sent."""
    programs.deliver(udp(family.to_dns))

    sent = programs.reply(icmp_error(family.instance, udp(family.at_dns), kind=family.icmp_errors[0]))

    assert (sent.source, sent.destination) == (family.vip, family.client)
    assert sent.payload[8:] == udp(family.to_dns)


def test_errors_of_the_instance_about_direct_packets_are_left_alone(programs: Programs, family: Family) -> None:
    """Without a flow the error passes as it is; so does a ping."""
    error = icmp_error(family.instance, udp(family.at_dns), kind=family.icmp_errors[0])
    pong = ip(family.instance, family.client, icmp_of(family.client), bytes([family.pong, 0, 0, 0, 0, 0, 0, 0]))
    for packet in (error, pong):
        assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})


def test_errors_of_others_about_translated_packets_are_left_alone(programs: Programs, family: Family) -> None:
    """Only the instance itself speaks in the VIP's name."""
    programs.deliver(udp(family.to_dns))
    packet = icmp_error(family.neighbour, udp(family.at_dns), kind=family.icmp_errors[0])

    assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})
