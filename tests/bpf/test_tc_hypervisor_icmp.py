"""One packet in, a verdict and a packet out: ICMP errors and the packets they quote."""

from __future__ import annotations

import pytest

from tests.bpf.hypervisor_packets import ETHERNET, ICMP, frame, icmp_error, ip, read, tcp, tunnelled, udp
from tests.bpf.hypervisor_programs import (
    AT_DNS,
    AT_WEB,
    CLIENT,
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


def test_errors_of_others_about_translated_packets_are_left_alone(programs: Programs) -> None:
    """Only the instance itself speaks in the VIP's name."""
    programs.deliver(udp(TO_DNS))
    packet = icmp_error(NEIGHBOUR, udp(AT_DNS), code=3)

    assert programs.instance(packet) == (LET_THROUGH, frame(packet), {"passed_other"})
