"""The mail probe: greeting, HELO, and servers that do not behave."""

from __future__ import annotations

import asyncio

import pytest

from bascule.healthchecks.interface import ProbeResult
from bascule.model.health_checks import HealthCheckMode
from tests.unit.healthchecks.servers import Handler, closed_port, probe, saying, silent, tcp_server

SMTP = HealthCheckMode.SMTP
BANNER, WELCOME, BYE = b"220 mx.example ESMTP\r\n", b"250 mx.example\r\n", b"221 bye\r\n"


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A reply of ever more lines."""
    while True:
        writer.write(b"220-more\r\n" * 1000)
        await writer.drain()


SERVERS: list[tuple[Handler, bool, str]] = [
    (saying(BANNER, WELCOME, BYE), True, "HELO: 250 mx.example"),
    (saying(b"220-mx\r\n220-two\r\n220 three\r\n", b"250-a\r\n250 b\r\n", BYE), True, "HELO: 250 b"),
    (saying(b"554 no\r\n"), False, "banner: 554 no"),
    (saying(BANNER, b"550 who are you\r\n"), False, "HELO: 550 who are you"),
    (saying(BANNER, b"250 a\x1b[2Jb\r\n", BYE), True, "HELO: 250 a?[2Jb"),
    (saying(b"SSH-2.0-OpenSSH\r\n"), False, "the server does not speak SMTP"),
    (saying(b"220 " + b"x" * 100_000), False, "Separator"),
    (saying(b"220 half a li"), False, "the server hung up"),
    (endless, False, "the server's reply is over 100 lines"),
]


@pytest.mark.parametrize(("server", "ok", "words"), SERVERS)
async def test_the_greeting_decides(server: Handler, ok: bool, words: str) -> None:
    """220 and then 250 are health; everything else is a failure in words, read within bounds."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if words == "the server hung up":
            writer.write(b"220 half a li")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        await server(reader, writer)

    async with tcp_server(once) as port:
        result = await probe(SMTP, port)
        assert result.ok is ok
        assert result.message.startswith(words)


async def test_our_name_is_said() -> None:
    """`smtp_helo` is what the server hears, and QUIT ends the conversation."""
    heard: list[bytes] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for words in (BANNER, WELCOME, BYE):
            writer.write(words)
            await writer.drain()
            heard.append(await reader.readline())

    async with tcp_server(server) as port:
        assert (await probe(SMTP, port, smtp_helo="checks.example")).ok
    assert heard[:2] == [b"HELO checks.example\r\n", b"QUIT\r\n"]


async def test_a_refused_connection_is_a_failure() -> None:
    """Nobody listens."""
    assert await probe(SMTP, closed_port()) == ProbeResult(False, "Connection refused")


async def test_a_silent_server_runs_into_the_timeout() -> None:
    """A server without a banner is waited for until the runner cancels."""
    async with tcp_server(silent) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await probe(SMTP, port)
