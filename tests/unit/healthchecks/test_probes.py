"""The probes against real servers on the loopback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes import real_probes
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.system.commands import run

LOOPBACK = IPv4Address("127.0.0.1")


class Handler(BaseHTTPRequestHandler):
    """Answers /<status> with that status; remembers the Host header."""

    hosts: list[str | None] = []  # noqa: RUF012  the test reads it from the class

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        self.send_response(int(self.path.lstrip("/") or "200"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def web_server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(mode: HealthCheckMode, port: int, uri: str | None = None, sni: str | None = None) -> ProbeResult:
    wanted = HealthCheck(mode=mode, port=port, uri=uri, tls_sni=sni)
    return asyncio.run(real_probes()[mode].check(LOOPBACK, wanted))


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_tcp_is_healthy_when_the_port_is_open() -> None:
    """A listening socket is enough, even if nobody accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert check(HealthCheckMode.TCP, server.getsockname()[1]) == ProbeResult(True, "connected")


@pytest.mark.parametrize("mode", sorted(set(HealthCheckMode) - {HealthCheckMode.PING, HealthCheckMode.SCRIPT}))
def test_a_closed_port_is_a_failure(mode: HealthCheckMode) -> None:
    """Refused connections fail, whatever is spoken."""
    result = check(mode, closed_port())
    assert not result.ok
    assert result.message


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
def test_http_follows_the_status(status: int, ok: bool) -> None:
    """Status 200 to 399 is healthy; redirections are not followed."""
    with web_server() as port:
        assert check(HealthCheckMode.HTTP, port, f"/{status}") == ProbeResult(ok, f"HTTP {status}")


def test_a_server_that_speaks_something_else_is_a_failure() -> None:
    """HTTPS to a plain web server fails with words, not with an exception."""
    with web_server() as port:
        assert not check(HealthCheckMode.HTTPS, port, "/200").ok


def test_https_sends_the_name_and_accepts_any_certificate(tmp_path: Path) -> None:
    """A self-signed certificate is accepted, and the server sees the name as SNI and as Host."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1", *files])
    context, names = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with web_server(context) as port:
        assert check(HealthCheckMode.HTTPS, port, "/200", "shop.example") == ProbeResult(True, "HTTP 200")
    assert names == ["shop.example"]
    assert Handler.hosts[-1] == "shop.example"
