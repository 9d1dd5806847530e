"""keepalived's health checks of every kind against real servers, and what our own say of the same servers.

All kinds are in one test: booted guests are slow, and a service each is one reload.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from bascule.healthchecks.probes import real_probes
from bascule.healthchecks.scripts import ScriptFolder
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.system.commands import run
from bascule.system.namespaces import enter
from tests.ipvs import keepalived_bench
from tests.ipvs.bench import FAMILIES, VIPS
from tests.ipvs.centre import ADDRESSES, TARGET_PORT, Centre, backend
from tests.ipvs.keepalived_bench import TCP_CHECK, Node, checked, serve, until
from tests.unit.healthchecks.servers import tcp_server, udp_server

pytestmark = [pytest.mark.root, pytest.mark.guest]
MODE = HealthCheckMode
NAME = "www.example.net"
BODY = b"state=ready 42\n"
DIGEST = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
SCRIPT = "weighs"
WEIGHT = 3
CHECKS = {
    "http, status": replace(TCP_CHECK, mode=MODE.HTTP, status_codes="200-299"),
    "http, pattern": replace(TCP_CHECK, mode=MODE.HTTP, body_pattern=r"ready \d+"),
    "http, digest": replace(TCP_CHECK, mode=MODE.HTTP, body_digest=DIGEST),
    "http, virtual host": replace(TCP_CHECK, mode=MODE.HTTP, host=NAME),
    "https, unverified, name by SNI": replace(TCP_CHECK, mode=MODE.HTTPS, tls_sni=NAME),
    "smtp": replace(TCP_CHECK, mode=MODE.SMTP, smtp_helo="lb.example.net"),
    "dns": replace(TCP_CHECK, mode=MODE.DNS, dns_name=NAME, dns_type="A"),
    "udp, reply": replace(TCP_CHECK, mode=MODE.UDP, udp_payload="0102", udp_reply="0a0b"),
    "ping": replace(TCP_CHECK, mode=MODE.PING),
    "script with a weight": replace(TCP_CHECK, mode=MODE.SCRIPT, script=SCRIPT, script_weight=True),
}


class Servers(threading.Thread):
    """A server for each kind of check in a network namespace; while `good`, they answer as the checks want it."""

    def __init__(self, namespace: str, address: IPAddress, folder: Path) -> None:
        super().__init__(daemon=True)
        self.good = True
        self.ports: Future[dict[str, int]] = Future()
        self._namespace, self._address, self._folder = namespace, address, folder
        self._heard: str | None = None
        self._probes = real_probes(ScriptFolder(folder))

    def run(self) -> None:
        """Until `end`."""
        enter(self._namespace)
        asyncio.run(self._serve())

    def end(self) -> None:
        """Close all of them."""
        self._loop.call_soon_threadsafe(self._over.set)
        self.join()

    def verdict(self, check: HealthCheck) -> bool:
        """What our own check says, made in the instance itself."""

        async def ask() -> bool:
            with suppress(TimeoutError):
                async with asyncio.timeout(check.timeout):
                    return (await self._probes[check.mode].check(self._address, check)).ok
            return False

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        tcp: dict[str, tuple[Callable[..., object], ssl.SSLContext | None]] = {
            **{kind: (self._web, None) for kind in CHECKS if kind.startswith("http,")},
            "https, unverified, name by SNI": (self._secure_web, self._context()),
            "smtp": (self._mail, None),
        }
        async with AsyncExitStack() as stack:
            ports = dict.fromkeys(CHECKS, TARGET_PORT)
            for kind, (handler, context) in tcp.items():
                ports[kind] = await stack.enter_async_context(tcp_server(handler, self._address, context))  # type: ignore[arg-type]
            for kind, answer in (("dns", self._names), ("udp, reply", self._echo)):
                ports[kind] = await stack.enter_async_context(udp_server(answer, self._address))
            self.ports.set_result(ports)
            await self._over.wait()

    def _context(self) -> ssl.SSLContext:
        """Of a certificate that nobody would accept."""
        key, certificate = self._folder / "key.pem", self._folder / "certificate.pem"
        files = ["-keyout", str(key), "-out", str(certificate)]
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1", *files])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.sni_callback = lambda _socket, name, _context: setattr(self, "_heard", name)
        return context

    async def _web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        # Whoever wants the virtual host says its name; the others' name is the address.
        known = f"Host: {NAME}\r\n".encode() in asked or str(self._address).encode() in asked
        status = "200 OK" if known and self.good else "503 Not well"
        body = BODY if self.good else b"state=waiting\n"
        writer.write(f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()
        await writer.wait_closed()

    async def _secure_web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._heard == NAME
        await self._web(reader, writer)

    async def _mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n" if self.good else b"554 no mail here\r\n")
        while line := await reader.readline():
            writer.write(b"250 hello\r\n" if line == b"HELO lb.example.net\r\n" else b"221 bye\r\n")

    def _names(self, question: bytes) -> list[bytes]:
        answer = dns.message.make_response(dns.message.from_wire(question))
        answer.set_rcode(dns.rcode.NOERROR if self.good else dns.rcode.SERVFAIL)
        return [answer.to_wire()]

    def _echo(self, datagram: bytes) -> list[bytes]:
        return [b"\x0a\x0b and more" if self.good and datagram == b"\1\2" else b"\x0a"]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The operator's folder, with a script that ends with what a file says."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "status").write_text("0")
    (folder / SCRIPT).write_text(f"#!/bin/sh\nread -r status <{folder}/status\nexit $status\n")
    (folder / SCRIPT).chmod(0o755)
    return folder


@pytest.fixture
def servers(centre: Centre, family: int, scripts: Path) -> Iterator[Servers]:
    made = Servers(centre.of("one"), ADDRESSES[family]["one"], scripts)
    made.start()
    yield made
    made.end()


def test_every_kind_of_check_goes_up_and_down(
    centre: Centre, family: int, scripts: Path, servers: Servers, tmp_path: Path
) -> None:
    """Well, ill and well again, each kind says so, as our own check of the same server does."""
    if reason := keepalived_bench.reason_to_skip():
        pytest.skip(reason)
    ports = servers.ports.result(30)
    checks = {kind: replace(check, port=ports[kind]) for kind, check in CHECKS.items()}
    services = {
        kind: checked(backend("one", family=family), family=family, port=1000 + number, check=check)
        for number, (kind, check) in enumerate(checks.items())
    }
    centre.node.enforce(held=False)
    with keepalived_bench.cleaned(centre, tmp_path):
        node = Node(centre, "lb", tmp_path, VIPS[family], scripts)

        def seen() -> dict[str, Health | None]:
            reports = {each.key: each for each in node.observe().services}
            return {kind: reports[wanted.key].backends[0].health for kind, wanted in services.items()}

        serve(node, *services.values())
        for good in (True, False, True):
            servers.good = good
            (scripts / "status").write_text(str(WEIGHT + 2) if good else "1")
            for each in ("ipv4__icmp_echo_ignore_all", "ipv6__icmp__echo_ignore_all"):
                centre.sysctl("one", **{each: int(not good)})
            wanted = dict.fromkeys(services, Health.SUCCESS if good else Health.FAILURE)
            until(node, *services.values(), condition=lambda wanted=wanted: seen() == wanted, told=seen)  # type: ignore[misc]
            assert {kind: servers.verdict(check) for kind, check in checks.items()} == dict.fromkeys(checks, good)
        (weighed,) = (each for each in node.observe().services if each.key == services["script with a weight"].key)
        assert weighed.backends[0].weight == WEIGHT
