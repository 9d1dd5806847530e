"""Small servers on the loopback for the probes' tests, in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address
from typing import Any, cast

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes import real_probes
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck, HealthCheckMode

# Made once: reading the machine's authorities takes longer than many a test's patience.
PROBES = real_probes()
LOOPBACK = IPv4Address("127.0.0.1")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(
    handler: Handler, address: IPAddress = LOOPBACK, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port of a server whose every connection the handler serves; what is open at the end is cut."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, str(address), 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(*words: bytes) -> Handler:
    """Say the first words at once, then the next after every line that is heard."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in words:
            writer.write(each)
            await writer.drain()
            if not await reader.readline():
                return

    return handler


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Listen, and never say a word."""
    await reader.read()


class _Answering(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self._answer = answer
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self.transport is not None
        for each in self._answer(data):
            self.transport.sendto(each, addr)


@asynccontextmanager
async def udp_server(answer: Callable[[bytes], list[bytes]], address: IPAddress = LOOPBACK) -> AsyncIterator[int]:
    """The port of a server that sends all these answers to a datagram."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(answer), local_addr=(str(address), 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def closed_port(kind: int = socket.SOCK_STREAM, address: IPAddress = LOOPBACK) -> int:
    """A port on which nobody listens."""
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, kind) as free:
        free.bind((str(address), 0))
        port: int = free.getsockname()[1]
        return port


async def probe(mode: HealthCheckMode, port: int, **options: object) -> ProbeResult:
    """One check of the loopback by the real probe, within 5 s."""
    return await probe_at(LOOPBACK, mode, port, **options)


async def probe_at(address: IPAddress, mode: HealthCheckMode, port: int, /, **options: object) -> ProbeResult:
    """One check of another address."""
    check = HealthCheck(mode=mode, port=port, **options)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        return await PROBES[mode].check(address, check)
