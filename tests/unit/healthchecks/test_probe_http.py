"""The web probe: statuses, bodies, names, certificates."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path

import pytest

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.http import BODY_MAX, HttpProbe
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.system.commands import run
from tests.unit.healthchecks.servers import LOOPBACK, Handler, probe, silent, tcp_server
from tests.unit.healthchecks.test_probes import web_server

PAGE = b"<html>Status: OK\n</html>"
SHA256, MD5 = hashlib.sha256(PAGE).hexdigest(), hashlib.md5(PAGE, usedforsecurity=False).hexdigest()


def answering(status: int, body: bytes = PAGE, heard: list[bytes] | None = None) -> Handler:
    """A web server with one page; `heard` collects the requests."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        await reader.read()

    return handler


EXPECTED: list[tuple[dict[str, str], int, bool]] = [
    ({"status_codes": "200"}, 200, True),
    ({"status_codes": "200"}, 204, False),
    ({"status_codes": "200-204,404"}, 404, True),
    ({"status_codes": "500-599"}, 503, True),
    ({"body_digest": SHA256}, 200, True),
    ({"body_digest": SHA256.upper()}, 200, True),
    ({"body_digest": MD5}, 200, True),
    ({"body_digest": "0" * 64}, 200, False),
    ({"body_digest": "0" * 32}, 200, False),
    ({"body_digest": SHA256}, 404, False),
    ({"body_pattern": "status: (?i:ok)"}, 200, False),
    ({"body_pattern": "(?i)status: ok"}, 200, True),
    ({"body_pattern": r"^<html>[^\n]*OK\n"}, 200, True),
    ({"body_pattern": "(.*)*(.*)*(.*)*x$"}, 200, False),
    ({"body_pattern": "OK", "body_digest": "0" * 64}, 200, False),
]


@pytest.mark.parametrize(("options", "status", "ok"), EXPECTED, ids=str)
async def test_the_answer_must_be_as_expected(options: dict[str, str], status: int, ok: bool) -> None:
    """Status, pattern and digest all have to fit."""
    async with tcp_server(answering(status)) as port:
        result = await probe(HealthCheckMode.HTTP, port, uri="/", **options)
        assert result.ok is ok, result.message


async def test_a_catastrophic_pattern_is_searched_in_linear_time() -> None:
    """What would hold a backtracking engine for years is answered within the time of one check."""
    async with tcp_server(answering(200, b"a" * 50_000)) as port:
        assert not (await probe(HealthCheckMode.HTTP, port, uri="/", body_pattern="(a+)+(a*)*(a|a)+b")).ok


@pytest.mark.parametrize("options", [{"body_pattern": "OK"}, {"body_digest": SHA256}])
async def test_a_body_that_is_too_large_is_a_failure(options: dict[str, str]) -> None:
    """Reading ends at the limit, though the server would send for ever."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with tcp_server(endless) as port:
        result = await probe(HealthCheckMode.HTTP, port, uri="/", **options)
        assert result == ProbeResult(False, f"HTTP 200, but the body is over {BODY_MAX} bytes")


@pytest.mark.parametrize(
    "words",
    [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100, b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000],
)
async def test_garbage_is_a_failure_in_words(words: bytes) -> None:
    """A server that speaks something else never raises."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(words)
        await writer.drain()

    async with tcp_server(babble) as port:
        result = await probe(HealthCheckMode.HTTP, port, uri="/")
        assert not result.ok
        assert result.message


async def test_a_silent_server_is_waited_for_until_the_caller_cancels() -> None:
    """The probe itself has no clock: the runner's timeout ends it."""
    heard = asyncio.Event()

    async def listening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard.set()
        await silent(reader, writer)

    probe = HttpProbe()
    async with tcp_server(listening) as port:
        check = HealthCheck(mode=HealthCheckMode.HTTP, port=port, uri="/")
        asked = asyncio.create_task(probe.check(LOOPBACK, check))
        await heard.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


async def test_the_virtual_host_is_asked_for() -> None:
    """`host` is the Host header of plain HTTP too."""
    heard: list[bytes] = []
    async with tcp_server(answering(200, heard=heard)) as port:
        assert (await probe(HealthCheckMode.HTTP, port, uri="/x?y=1", host="shop.example")).ok
    assert heard[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    assert b"\r\nHost: shop.example\r\n" in heard[0]


async def test_certificates_are_verified_when_asked_for(tmp_path: Path) -> None:
    """Off, a self-made certificate is accepted; on, it must be from a trusted authority and for the name."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    files = ["-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=DNS:shop.example"]
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1", *files])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # A server in a thread: asyncio's of Python 3.11 leaks the connections whose handshake breaks.
    with web_server(context) as port:

        async def passes(probe: HttpProbe, verify: bool, name: str) -> bool:
            check = HealthCheck(mode=HealthCheckMode.HTTPS, port=port, uri="/200", tls_verify=verify, tls_sni=name)
            return (await probe.check(LOOPBACK, check)).ok

        assert await passes(HttpProbe(), False, "shop.example")
        assert not await passes(HttpProbe(), True, "shop.example")
        assert not await passes(HttpProbe(certificate), True, "other.example")
        assert await passes(HttpProbe(certificate), True, "shop.example")
