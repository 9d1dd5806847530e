"""One datagram to an instance, and the answers to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bascule.model.addresses import IPAddress

ANSWERS_KEPT = 16  # a flood of answers fills no memory


class Conversation(asyncio.DatagramProtocol):
    """A connected socket: it hears this one instance only, and the kernel tells of ICMP errors (RFC 1122, 4.1.3.3)."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[bytes | Exception] = asyncio.Queue(ANSWERS_KEPT)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  asyncio's
        """Keep an answer."""
        if not self._heard.full():
            self._heard.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Keep the kernel's word."""
        if not self._heard.full():
            self._heard.put_nowait(exc)

    async def answer(self) -> bytes:
        """Wait for the next answer. Raises OSError when the kernel learnt that nobody listens."""
        heard = await self._heard.get()
        if isinstance(heard, Exception):
            raise heard
        return heard


@asynccontextmanager
async def sent(address: IPAddress, port: int, payload: bytes) -> AsyncIterator[Conversation]:
    """Send the payload, and listen while the context lasts. Raises OSError when there is no route."""
    loop = asyncio.get_running_loop()
    transport, conversation = await loop.create_datagram_endpoint(Conversation, remote_addr=(str(address), port))
    try:
        transport.sendto(payload)
        yield conversation
    finally:
        transport.abort()
