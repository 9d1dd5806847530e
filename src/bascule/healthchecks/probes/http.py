"""Does a web server answer as expected? The status, and if the check asks for it the body.

HTTPS certificates are not verified unless the check says so, as in the public API's health checks: the instance is
reached by its address, and an expired certificate is for its clients to judge.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from pathlib import Path

import httpx

from bascule.healthchecks.interface import ProbeResult
from bascule.model.addresses import IPAddress
from bascule.model.health_check_rules import body_pattern, status_ranges
from bascule.model.health_checks import HealthCheck, HealthCheckMode

BODY_MAX = 256 * 1024  # bytes; a health page is far smaller
_USUAL = (range(200, 400),)


def _lenient() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class HttpProbe:
    """GET over HTTP or HTTPS, a connection of its own each time. Redirections are answers, they are not followed."""

    def __init__(self, authorities: Path | None = None) -> None:
        """`authorities` is a PEM file of those whose certificates are trusted; None trusts those of the machine.

        Raises OSError when it cannot be read.
        """
        self._lenient = _lenient()
        self._strict = ssl.create_default_context(cafile=authorities)

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Ask for the check's `uri`; the body is read only if it matters, and then at most BODY_MAX bytes of it."""
        name = health_check.tls_sni or health_check.host
        secure = health_check.mode is HealthCheckMode.HTTPS
        host = f"[{address}]" if address.version == 6 else str(address)
        url = f"{'https' if secure else 'http'}://{host}:{health_check.port}{health_check.uri or '/'}"
        # No compression: a digest is of what was sent, and a small answer cannot grow here.
        headers = {"User-Agent": "bascule-health-check", "Connection": "close", "Accept-Encoding": "identity"}
        if health_check.host or (secure and name):
            headers["Host"] = health_check.host or str(name)
        extensions = {"sni_hostname": name} if secure and name else {}
        context = self._strict if health_check.tls_verify else self._lenient
        try:
            # trust_env off: a proxy in the agent's environment must not answer for the instance.
            async with (
                httpx.AsyncClient(verify=context, trust_env=False, timeout=None) as client,  # noqa: S113  the caller's
                client.stream("GET", url, headers=headers, extensions=extensions) as response,
            ):
                return await _judged(response, health_check)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return ProbeResult(False, str(error) or type(error).__name__)


async def _judged(response: httpx.Response, check: HealthCheck) -> ProbeResult:
    expected = status_ranges(check.status_codes) if check.status_codes else _USUAL
    status = f"HTTP {response.status_code}"
    if not any(response.status_code in codes for codes in expected):
        return ProbeResult(False, status)
    if check.body_pattern is None and check.body_digest is None:
        return ProbeResult(True, status)
    body = await _body(response)
    if body is None:
        return ProbeResult(False, f"{status}, but the body is over {BODY_MAX} bytes")
    if check.body_digest is not None and not _has_digest(body, check.body_digest):
        return ProbeResult(False, f"{status}, but the body has another digest")
    if check.body_pattern is not None and not body_pattern(check.body_pattern).search(body):
        return ProbeResult(False, f"{status}, but the pattern is not in the body")
    return ProbeResult(True, f"{status}, with the body expected")


async def _body(response: httpx.Response) -> bytes | None:
    """The body as it was sent; None when it is too long."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > BODY_MAX:
            return None
    return bytes(body)


def _has_digest(body: bytes, wanted: str) -> bool:
    # MD5 is what keepalived's genhash writes: it tells pages apart here, it protects nothing.
    digest = hashlib.md5(body, usedforsecurity=False) if len(wanted) == 32 else hashlib.sha256(body)
    return hmac.compare_digest(digest.hexdigest(), wanted.lower())
