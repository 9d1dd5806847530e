"""Real connections from the client host, and what became of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice

from bascule.lab.network import namespace
from bascule.lab.state import Lab
from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol
from bascule.system.namespaces import T, call_in

_REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send traffic."""

    protocol: Protocol
    address: IPAddress
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.host}:{self.port}"

    @property
    def host(self) -> str:
        """The address as it is written before a port."""
        return f"[{self.address}]" if self.address.version == 6 else str(self.address)


@dataclass(frozen=True, slots=True)
class Answer:
    """One exchange. `name` is who answered, "" for a failure, whose words are in `error`."""

    client: str
    seen: str = ""
    name: str = ""
    error: str = ""
    seconds: float = 0.0
    began: float = 0.0


@dataclass(slots=True)
class Tally:
    """Every exchange with one target."""

    target: Target
    answers: list[Answer] = field(default_factory=list)

    @property
    def by_instance(self) -> Counter[str]:
        """How many exchanges each instance answered."""
        return Counter(answer.name for answer in sorted(self.answers, key=lambda each: each.name) if answer.name)

    @property
    def failures(self) -> Counter[str]:
        """How many exchanges failed, by the error's words."""
        return Counter(answer.error for answer in self.answers if answer.error)

    @property
    def disguised(self) -> int:
        """How many answers say that the instance saw another address than the client's own."""
        return sum(1 for answer in self.answers if answer.name and answer.seen != answer.client)

    def clients_seen_by(self, name: str) -> set[str]:
        """The client addresses one instance saw."""
        return {answer.seen for answer in self.answers if answer.name == name}

    def latency_ms(self) -> tuple[float, float]:
        """The median and the 99th percentile of the exchanges that succeeded."""
        times = sorted(answer.seconds * 1000 for answer in self.answers if answer.name)
        return (statistics.median(times), times[int(len(times) * 0.99)]) if times else (0.0, 0.0)


def send(lab: Lab, target: Target, count: int, *, concurrency: int = 64, timeout: float = 5.0) -> Tally:
    """Make `count` exchanges from the client's addresses in turn, `concurrency` at a time."""
    sources = list(islice(cycle(map(str, lab.topology.client_addresses(target.address.version))), count))
    return in_client(lab, lambda: _run(target, iter(sources), concurrency, timeout))


def in_client(lab: Lab, main: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run a coroutine whose sockets belong to the client host."""
    return call_in(namespace(lab.name, "client"), lambda: asyncio.run(main()))


async def _run(target: Target, sources: Iterator[str], concurrency: int, timeout: float) -> Tally:  # noqa: ASYNC109
    tally = Tally(target)

    async def worker() -> None:
        for source in sources:
            tally.answers.append(await exchange(target, source, timeout))

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return tally


async def exchange(target: Target, source: str, timeout: float) -> Answer:  # noqa: ASYNC109
    """Ask once; every way to fail becomes an Answer with the error's words."""
    ask = _ask_tcp if target.protocol is Protocol.TCP else _ask_udp
    wall, began = time.time(), time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            said = json.loads(await ask(target, source))
    except TimeoutError:
        return Answer(source, error="no answer in time", began=wall)
    except (OSError, ValueError) as error:
        return Answer(source, error=_words(error), began=wall)
    return Answer(source, seen=said["client"], name=said["name"], seconds=time.monotonic() - began, began=wall)


def _words(error: OSError | ValueError) -> str:
    # asyncio puts the address into the words; without it all failures of one kind count as one.
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


async def _ask_tcp(target: Target, source: str) -> bytes:
    loop = asyncio.get_running_loop()
    with client_socket(socket.SOCK_STREAM, source) as connection:
        await loop.sock_connect(connection, (str(target.address), target.port))
        await loop.sock_sendall(connection, _REQUEST)
        answer = bytearray()
        while block := await loop.sock_recv(connection, 65536):
            answer += block
    return bytes(answer.partition(b"\r\n\r\n")[2])


async def _ask_udp(target: Target, source: str) -> bytes:
    loop = asyncio.get_running_loop()
    with client_socket(socket.SOCK_DGRAM, source) as connection:
        await loop.sock_connect(connection, (str(target.address), target.port))
        await loop.sock_sendall(connection, b"who?")
        return await loop.sock_recv(connection, 65536)


def client_socket(kind: socket.SocketKind, source: str) -> socket.socket:
    """A socket that does not block, bound to an address of the client's."""
    made = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, kind)
    made.setblocking(False)
    # Choosing the port only when the peer is known lets one address hold 28,000 connections to each of many peers.
    made.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    made.bind((source, 0))
    return made
