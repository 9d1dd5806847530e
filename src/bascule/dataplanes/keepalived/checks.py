"""Health checks in keepalived's words (keepalived.conf(5)). Pure; docs/decisions/0010 has the reasons for refusals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx

from bascule.dataplanes.keepalived.patterns import pcre
from bascule.dataplanes.keepalived.quoting import escaped, line, plain
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.health_checks import HealthCheck, HealthCheckMode

_USUAL_CODES = "200-399"
_MD5 = 32
_DATAGRAM_MOST = 65507  # bytes
_PAYLOAD = b"bascule-health-check".hex()  # what our own check sends
_DNS_TYPES = {"A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"}
_DNS_NAME = re.compile(r"\.|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")

# What follows the address of an instance; a script alone is told it.
Check = Callable[[IPAddress], tuple[str, ...]]


def check(wanted: HealthCheck, scripts: Path) -> Check:
    """The lines of a check's block, for an instance. `scripts` is the operator's folder.

    Raises SystemFailure for what keepalived cannot check, or would check less strictly than we do.
    """
    if wanted.rise > 1:
        raise _cannot("wait for several good checks: leave healthcheck.rise at 1")
    begin, end = (f"{_KEYWORDS[wanted.mode]} {{",), ("}",)
    common = tuple(_common(wanted))
    if wanted.mode is HealthCheckMode.SCRIPT:
        return lambda address: (*begin, *_indented((*common, *_script(wanted, scripts, address))), *end)
    block = (*begin, *_indented((*common, *_CONTENTS[wanted.mode](wanted))), *end)
    return lambda _: block


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {each}" for each in lines)


def _common(wanted: HealthCheck) -> Iterator[str]:
    yield line("retry", str(wanted.retries))
    yield line("delay_before_retry", str(wanted.interval if wanted.retry_interval is None else wanted.retry_interval))
    yield line("delay_loop", str(wanted.interval))
    yield line("warmup", str(wanted.warm_up))
    if wanted.mode is HealthCheckMode.SCRIPT:
        yield line("misc_timeout", str(wanted.timeout))
        return
    yield line("connect_port", str(wanted.port))
    yield line("connect_timeout", str(wanted.timeout))


def _nothing(_: HealthCheck) -> Iterator[str]:
    return iter(())


def _web(wanted: HealthCheck) -> Iterator[str]:
    if wanted.tls_verify:
        raise _cannot("verify certificates: turn healthcheck.tls-verify off")
    if wanted.tls_sni and wanted.host and wanted.tls_sni != wanted.host:
        raise _cannot("ask one name by TLS and another by HTTP: make healthcheck.tls-sni and healthcheck.host the same")
    reads_body = wanted.body_pattern is not None or wanted.body_digest is not None
    name = wanted.host or wanted.tls_sni
    # By HTTP/1.0 no server cuts its body into chunks, which keepalived would take for a part of it.
    yield line("http_protocol", "1.0C" if reads_body else "1.1")
    if wanted.mode is HealthCheckMode.HTTPS and name:
        yield "enable_sni"
    yield "url {"
    yield from _indented(_page(wanted, name))
    yield "}"


def _page(wanted: HealthCheck, name: str | None) -> Iterator[str]:
    yield line("path", plain(_path(wanted.uri or "/")))
    yield line("status_code", (wanted.status_codes or _USUAL_CODES).replace(",", " "))
    if name:
        yield line("virtualhost", plain(name))
    if wanted.body_digest is not None:
        if len(wanted.body_digest) != _MD5:
            raise _cannot("compare SHA-256 digests: give healthcheck.body-digest an MD5 of 32 digits")
        yield line("digest", wanted.body_digest.lower())
    if wanted.body_pattern is not None:
        yield line("regex", escaped(pcre(wanted.body_pattern)))


def _path(uri: str) -> str:
    """What our own check sends of a URI: without a fragment, and with what no path may hold percent-encoded."""
    return httpx.URL(f"http://instance{uri}").raw_path.decode("ascii")


def _smtp(wanted: HealthCheck) -> Iterator[str]:
    if wanted.smtp_helo is not None:
        yield line("helo_name", plain(wanted.smtp_helo))


def _dns(wanted: HealthCheck) -> Iterator[str]:
    kind, name = (wanted.dns_type or "SOA").upper(), wanted.dns_name or "."
    if wanted.dns_answer:
        raise _cannot("want a record in a DNS answer: turn healthcheck.dns-answer off")
    if kind not in _DNS_TYPES:
        raise _cannot(f"ask for DNS records of type {kind}: use one of {', '.join(sorted(_DNS_TYPES))}")
    if not _DNS_NAME.fullmatch(name):
        raise _cannot(f"ask for the DNS name {name!r}: use letters, digits, '-' and '_' between the dots")
    yield line("type", kind)
    yield line("name", plain(name.rstrip(".") or "."))


def _udp(wanted: HealthCheck) -> Iterator[str]:
    if any(each is not None and each.lower().endswith("ff") for each in (wanted.udp_payload, wanted.udp_reply)):
        raise _cannot("send or want a datagram whose last octet is ff: let it end with another")
    yield line("payload", wanted.udp_payload or _PAYLOAD)
    if wanted.udp_reply is None:
        return
    yield line("require_reply", *([wanted.udp_reply] if wanted.udp_reply else []))
    # keepalived compares no more than it got: an answer that is too short would do.
    yield line("min_reply_length", str(len(wanted.udp_reply) // 2))
    yield line("max_reply_length", str(_DATAGRAM_MOST))


def _script(wanted: HealthCheck, scripts: Path, address: IPAddress) -> Iterator[str]:
    program = escaped(str(scripts / (wanted.script or "")))
    yield line("misc_path", program, plain(str(address)), str(wanted.port))
    if wanted.script_weight:
        yield "misc_dynamic"


def _cannot(what: str) -> SystemFailure:
    return SystemFailure(f"The data plane keepalived cannot {what}, or place the load balancer on other LB nodes.")


_KEYWORDS = {
    HealthCheckMode.TCP: "TCP_CHECK",
    HealthCheckMode.HTTP: "HTTP_GET",
    HealthCheckMode.HTTPS: "SSL_GET",
    HealthCheckMode.SMTP: "SMTP_CHECK",
    HealthCheckMode.DNS: "DNS_CHECK",
    HealthCheckMode.UDP: "UDP_CHECK",
    HealthCheckMode.PING: "PING_CHECK",
    HealthCheckMode.SCRIPT: "MISC_CHECK",
}
_CONTENTS: dict[HealthCheckMode, Callable[[HealthCheck], Iterator[str]]] = {
    HealthCheckMode.TCP: _nothing,
    HealthCheckMode.HTTP: _web,
    HealthCheckMode.HTTPS: _web,
    HealthCheckMode.SMTP: _smtp,
    HealthCheckMode.DNS: _dns,
    HealthCheckMode.UDP: _udp,
    HealthCheckMode.PING: _nothing,
}
