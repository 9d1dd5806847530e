"""The probes over UDP and ICMP: UDP itself, DNS, ping."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.ping import PingProbe
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from tests.unit.healthchecks.servers import closed_port, probe, udp_server

DNS, UDP = HealthCheckMode.DNS, HealthCheckMode.UDP
Answer = Callable[[bytes], list[bytes]]


async def test_silence_is_health_for_udp_unless_an_answer_is_required() -> None:
    """UDP owes no answer; a required one that does not come runs into the timeout."""
    async with udp_server(lambda _: []) as port:
        assert await probe(UDP, port, timeout=1) == ProbeResult(True, "sent, and not refused")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await probe(UDP, port, udp_reply="")


@pytest.mark.parametrize("reply", [None, ""])
async def test_an_icmp_error_is_a_failure(reply: str | None) -> None:
    """Nobody listens: the kernel says so, with or without a required answer."""
    result = await probe(UDP, closed_port(socket.SOCK_DGRAM), udp_reply=reply)
    assert result == ProbeResult(False, "Connection refused")


@pytest.mark.parametrize(
    ("begin", "ok"), [("", True), ("706f", True), ("706F6E67", True), ("7070", False), (None, True)]
)
async def test_the_required_answer_is_compared(begin: str | None, ok: bool) -> None:
    """The payload arrives as given, and the answer must begin as required."""
    heard: list[bytes] = []

    def answer(data: bytes) -> list[bytes]:
        heard.append(data)
        return [b"pong"]

    async with udp_server(answer) as port:
        assert (await probe(UDP, port, udp_payload="00ff", udp_reply=begin)).ok is ok
    assert heard == [b"\x00\xff"]


def answered(rcode: dns.rcode.Rcode = dns.rcode.NOERROR, records: int = 1, flags: int = 0) -> Answer:
    """A name server with this answer to everything."""

    def answer(data: bytes) -> list[bytes]:
        question = dns.message.from_wire(data)
        response = dns.message.make_response(question)
        response.set_rcode(rcode)
        response.flags |= flags
        for number in range(records):
            response.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", f"192.0.2.{number}"))
        return [response.to_wire()]

    return answer


NAMES: list[tuple[Answer, bool, bool]] = [
    (answered(), False, True),
    (answered(), True, True),
    (answered(records=0), False, True),
    (answered(records=0), True, False),
    (answered(records=0, flags=dns.flags.TC), True, True),
    (answered(dns.rcode.NXDOMAIN, 0), False, False),
    (answered(dns.rcode.SERVFAIL, 0), False, False),
    (answered(dns.rcode.REFUSED, 0), True, False),
    (lambda _: [b"\x00"], False, False),
    (lambda _: [b"garbage"], False, False),
    (lambda data: [b"\xff" * 600], False, False),
]


@pytest.mark.parametrize(("answer", "wanted", "ok"), NAMES)
async def test_a_name_server_is_judged_by_its_answer(answer: Answer, wanted: bool, ok: bool) -> None:
    """NOERROR is health; a record is needed if the check wants one; garbage is a failure in words."""
    async with udp_server(answer) as port:
        result = await probe(DNS, port, dns_name="www.example", dns_type="A", dns_answer=wanted)
        assert result.ok is ok, result.message
        assert result.message


async def test_the_question_is_as_given() -> None:
    """Name and type arrive; without them it is the root's SOA, as keepalived asks."""
    asked: list[str] = []

    def answer(data: bytes) -> list[bytes]:
        asked.append(dns.message.from_wire(data).question[0].to_text())
        return answered()(data)

    async with udp_server(answer) as port:
        assert (await probe(DNS, port, dns_name="mail.example", dns_type="MX")).ok
        assert (await probe(DNS, port)).ok
    assert asked == ["mail.example. IN MX", ". IN SOA"]


async def test_an_answer_to_another_question_is_passed_over() -> None:
    """A late answer with another identifier neither heals nor harms."""

    def answer(data: bytes) -> list[bytes]:
        other = dns.message.make_response(dns.message.make_query("www.example", "A"))
        other.set_rcode(dns.rcode.SERVFAIL)
        return [other.to_wire(), *answered()(data)]

    async with udp_server(answer) as port:
        assert (await probe(DNS, port, dns_name="www.example", dns_type="A")).ok


async def test_a_silent_name_server_runs_into_the_timeout() -> None:
    """Nothing is made of nothing."""
    async with udp_server(lambda _: []) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await probe(DNS, port)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a raw socket where ping sockets are not allowed")
async def test_the_loopback_answers_pings() -> None:
    """Fifty pings at once each hear their own echo."""
    results = await asyncio.gather(*(probe(HealthCheckMode.PING, 7) for _ in range(50)))
    assert set(results) == {ProbeResult(True, "echoed")}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a raw socket where ping sockets are not allowed")
async def test_a_ping_without_a_way_is_a_failure() -> None:
    """An address that nothing can be sent to is refused by the kernel, in its words."""
    check = HealthCheck(mode=HealthCheckMode.PING, port=7)
    result = await PingProbe().check(IPv4Address("255.255.255.255"), check)
    assert result == ProbeResult(False, "Permission denied")
