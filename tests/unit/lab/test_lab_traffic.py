"""Exchanges with a real instance server on this machine, and how they are counted and shown."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from ipaddress import ip_address

import pytest
from rich.console import Console

from bascule.lab import picture
from bascule.lab.commands import as_json, parse_target
from bascule.lab.instance_server import listening
from bascule.lab.passage import Passage
from bascule.lab.traffic import Answer, Tally, Target, exchange
from bascule.model.errors import InvalidInput
from bascule.model.strategies import Protocol

_HOME, _HOME6 = "127.0.0.1", "::1"


async def _ask(protocol: Protocol, port: int, home: str = _HOME) -> Answer:
    return await exchange(Target(protocol, ip_address(home), port), home, 2.0)


async def _speak(port: int, words: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(_HOME, port)
    writer.write(words)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("home", [_HOME, _HOME6])
@pytest.mark.parametrize("protocol", list(Protocol))
def test_an_instance_says_who_it_is_and_whom_it_sees(protocol: Protocol, home: str, unused_port: int) -> None:
    """Over TCP and UDP an exchange tells the instance's name and the address it saw."""

    async def body() -> Answer:
        async with listening("me", unused_port, _HOME, _HOME6):
            return await _ask(protocol, unused_port, home)

    answer = asyncio.run(body())
    assert (answer.name, answer.seen, answer.error) == ("me", home, "")


def test_health_can_be_switched(unused_port: int) -> None:
    """POST /healthz decides what GET /healthz answers from then on."""

    async def body() -> list[bytes]:
        async with listening("me", unused_port, _HOME, _HOME6):
            ask = b"GET /healthz HTTP/1.1\r\n\r\n"
            set_sick = b"POST /healthz HTTP/1.1\r\nContent-Length: 3\r\n\r\n503"
            return [await _speak(unused_port, words) for words in (ask, set_sick, ask)]

    well, _, sick = asyncio.run(body())
    assert well.startswith(b"HTTP/1.1 200")
    assert sick.startswith(b"HTTP/1.1 503")


def test_bytes_go_both_ways(unused_port: int) -> None:
    """GET /bytes/<n> sends n bytes, and PUT counts what it is sent."""

    async def body() -> tuple[bytes, bytes]:
        async with listening("me", unused_port, _HOME, _HOME6):
            down = await _speak(unused_port, b"GET /bytes/70000 HTTP/1.1\r\n\r\n")
            up = await _speak(unused_port, b"PUT /bytes HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
            return down.partition(b"\r\n\r\n")[2], up.partition(b"\r\n\r\n")[2]

    down, up = asyncio.run(body())
    assert len(down) == 70000
    assert json.loads(up)["bytes"] == 5


def test_a_closed_port_is_a_refusal(unused_port: int) -> None:
    """Nobody listening is told apart from nobody answering."""
    assert asyncio.run(_ask(Protocol.TCP, unused_port)).error == "Connection refused"


def _tally() -> Tally:
    good = [Answer("198.51.100.11", seen="198.51.100.11", name=name, seconds=0.01) for name in ("vm2", "vm1", "vm2")]
    odd = Answer("198.51.100.11", seen="10.0.1.2", name="vm1", seconds=0.03)
    return Tally(parse_target("tcp:203.0.113.16:80"), [*good, odd, Answer("198.51.100.12", error="no answer in time")])


def test_a_tally_counts() -> None:
    """Answers are counted by instance, failures by their words, and strange client addresses as such."""
    tally = _tally()
    assert tally.by_instance == {"vm1": 2, "vm2": 2}
    assert tally.failures == {"no answer in time": 1}
    assert tally.disguised == 1
    assert tally.latency_ms() == (10.0, 30.0)
    assert as_json(tally)["answered-by"] == {"vm1": 2, "vm2": 2}


def test_an_empty_tally_has_no_latency() -> None:
    """Without an answer there is no latency to tell."""
    assert Tally(parse_target("udp:203.0.113.16:53")).latency_ms() == (0.0, 0.0)


@pytest.mark.parametrize("text", ["tcp:203.0.113.16:80", "udp:[2001:db8:203::10]:53"])
def test_a_target_of_either_family_is_read(text: str) -> None:
    """A target is written as it is read, an address of IPv6 in brackets."""
    assert str(parse_target(text)).replace(" ", ":") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp",
        "tcp:2001:db8::1:80",
        "tcp:[203.0.113.16]:80",
        "icmp:203.0.113.16:80",
        "tcp:nowhere:80",
        "tcp:203.0.113.16:http",
    ],
)
def test_a_target_is_spelled_right(text: str) -> None:
    """What is no target is refused with an example of one."""
    with pytest.raises(InvalidInput, match=r"tcp:203\.0\.113\.16:80"):
        parse_target(text)


def test_tables_fit_a_terminal() -> None:
    """Everything a tally and a passage say is readable in 80 columns."""
    written = StringIO()
    console = Console(width=80, file=written)
    console.print(picture.answers([_tally()]), picture.passage(Passage(replies_from_lb_nodes=(1234, 5))))
    text = written.getvalue()
    assert "…" not in text
    assert all(word in text for word in ("vm1", "vm2", "40.0%", "no answer", "10.0.1.2", "1,234"))
