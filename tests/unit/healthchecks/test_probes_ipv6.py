"""Every probe against servers that have IPv6 alone."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import uuid
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.http import HttpProbe
from bascule.healthchecks.probes.ping import PingProbe
from bascule.healthchecks.probes.script import ScriptProbe
from bascule.healthchecks.scripts import ScriptFolder
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.system.commands import run
from bascule.system.namespaces import call_in
from tests.unit.healthchecks.servers import closed_port, probe_at, saying, silent, tcp_server, udp_server
from tests.unit.healthchecks.test_probe_datagrams import answered
from tests.unit.healthchecks.test_probe_http import answering


def has_ipv6() -> bool:
    """Whether this machine has the loopback by IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as bound:
            bound.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback")
LOOPBACK = IPv6Address("::1")
NETWORKED = sorted(set(HealthCheckMode) - {HealthCheckMode.PING, HealthCheckMode.SCRIPT})


async def test_tcp_connects() -> None:
    """A listening port is health."""
    async with tcp_server(silent, LOOPBACK) as port:
        assert await probe_at(LOOPBACK, HealthCheckMode.TCP, port) == ProbeResult(True, "connected")


@pytest.mark.parametrize(("host", "header"), [(None, "[::1]:{port}"), ("shop.example", "shop.example")])
async def test_http_writes_the_address_in_brackets(host: str | None, header: str) -> None:
    """The Host header has the address in brackets with the port (RFC 3986, 3.2.2), unless the check names another."""
    heard: list[bytes] = []
    async with tcp_server(answering(200, heard=heard), LOOPBACK) as port:
        result = await probe_at(LOOPBACK, HealthCheckMode.HTTP, port, uri="/health", host=host)
        assert result == ProbeResult(True, "HTTP 200")
    request = heard[0].decode().splitlines()
    assert request[0] == "GET /health HTTP/1.1"
    assert f"Host: {header.format(port=port)}" in request


@pytest.mark.parametrize("name", [None, "shop.example"])
async def test_https_answers_with_a_name_or_without(tmp_path: Path, name: str | None) -> None:
    """The server sees the name as SNI, and none at all instead of an address."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1", *files])
    context, names = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, asked, _context: names.append(asked)
    async with tcp_server(answering(200), LOOPBACK, context) as port:
        result = await probe_at(LOOPBACK, HealthCheckMode.HTTPS, port, uri="/", tls_sni=name)
        assert result == ProbeResult(True, "HTTP 200")
    assert names == [name]


@pytest.mark.parametrize(("named", "ok"), [("::1", True), ("::2", False)])
async def test_a_verified_certificate_names_the_address(tmp_path: Path, named: str, ok: bool) -> None:
    """Without a name, the certificate must be for the instance's address."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    files = ["-keyout", str(key), "-out", str(certificate), "-addext", f"subjectAltName=IP:{named}"]
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1", *files])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    check = HealthCheck(mode=HealthCheckMode.HTTPS, port=1, uri="/", tls_verify=True)
    async with tcp_server(answering(200), LOOPBACK, context) as port:
        result = await HttpProbe(certificate).check(LOOPBACK, replace(check, port=port))
    assert result.ok is ok, result.message


async def test_smtp_is_greeted() -> None:
    """The mail server takes our HELO."""
    server = saying(b"220 mx.example ESMTP\r\n", b"250 mx.example\r\n", b"221 bye\r\n")
    async with tcp_server(server, LOOPBACK) as port:
        assert (await probe_at(LOOPBACK, HealthCheckMode.SMTP, port)).ok


async def test_dns_and_udp_are_answered() -> None:
    """A name server and an echo answer to this one socket."""
    async with udp_server(answered(), LOOPBACK) as port:
        assert (await probe_at(LOOPBACK, HealthCheckMode.DNS, port, dns_name="www.example", dns_type="A")).ok
    async with udp_server(lambda data: [data], LOOPBACK) as port:
        options = {"udp_payload": "6869", "udp_reply": "6869"}
        result = await probe_at(LOOPBACK, HealthCheckMode.UDP, port, **options)
        assert result == ProbeResult(True, "2 bytes of answer")


@pytest.mark.parametrize("mode", NETWORKED)
async def test_a_closed_port_is_a_failure(mode: HealthCheckMode) -> None:
    """Refused by TCP's reset or ICMPv6's error, whatever is spoken."""
    kind = socket.SOCK_DGRAM if mode in {HealthCheckMode.DNS, HealthCheckMode.UDP} else socket.SOCK_STREAM
    result = await probe_at(LOOPBACK, mode, closed_port(kind, LOOPBACK))
    assert not result.ok
    assert result.message


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a raw socket where ping sockets are not allowed")
async def test_pings_are_echoed() -> None:
    """ICMPv6's echo comes back."""
    assert await probe_at(LOOPBACK, HealthCheckMode.PING, 7) == ProbeResult(True, "echoed")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace")
@pytest.mark.parametrize("address", [IPv4Address("127.0.0.1"), LOOPBACK])
def test_pings_are_echoed_to_raw_sockets(address: IPAddress) -> None:
    """Where ping sockets are allowed to nobody, as in a new namespace, a raw one hears its echo among all there is."""
    name = f"t{uuid.uuid4().hex[:8]}-ping"
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        check = HealthCheck(mode=HealthCheckMode.PING, port=7)
        result = call_in(name, lambda: asyncio.run(PingProbe().check(address, check)))
        assert result == ProbeResult(True, "echoed")
    finally:
        run(["ip", "netns", "delete", name])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: scripts are root's")
async def test_a_script_is_given_the_address_as_it_is_written(tmp_path: Path) -> None:
    """Without brackets: most programs want it so."""
    script = tmp_path / "is_six"
    script.write_text('#!/bin/sh\ntest "$1" = ::1 -a "$2" = 53\n')
    script.chmod(0o700)
    check = HealthCheck(mode=HealthCheckMode.SCRIPT, port=53, script="is_six")
    assert (await ScriptProbe(ScriptFolder(tmp_path)).check(LOOPBACK, check)).ok
