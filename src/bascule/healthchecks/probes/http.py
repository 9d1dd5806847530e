"""Does a web server answer with success or a redirection?

HTTPS certificates are not verified, as in the public API's health checks: the instance is reached by its address, and
an expired certificate is for its clients to judge. `tls_sni` is sent as the SNI and as the Host header.
"""

from __future__ import annotations

import ssl
from ipaddress import IPv4Address

import httpx

from bascule.healthchecks.interface import ProbeResult
from bascule.model.health_checks import HealthCheck, HealthCheckMode


def _lenient() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class HttpProbe:
    """GET over HTTP or HTTPS, a connection of its own each time. Status 200 to 399 is healthy."""

    def __init__(self) -> None:
        self._context = _lenient()

    async def check(self, address: IPv4Address, health_check: HealthCheck) -> ProbeResult:
        """Ask for the check's `uri`; the body of the answer is not read."""
        scheme = "https" if health_check.mode is HealthCheckMode.HTTPS else "http"
        url = f"{scheme}://{address}:{health_check.port}{health_check.uri or '/'}"
        headers = {"User-Agent": "bascule-health-check", "Connection": "close"}
        extensions = {}
        if health_check.tls_sni and scheme == "https":
            headers["Host"] = health_check.tls_sni
            extensions["sni_hostname"] = health_check.tls_sni
        try:
            # trust_env off: a proxy in the agent's environment must not answer for the instance.
            async with (
                httpx.AsyncClient(verify=self._context, trust_env=False, timeout=None) as client,  # noqa: S113  the caller's
                client.stream("GET", url, headers=headers, extensions=extensions) as response,
            ):
                return ProbeResult(200 <= response.status_code < 400, f"HTTP {response.status_code}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return ProbeResult(False, str(error) or type(error).__name__)
