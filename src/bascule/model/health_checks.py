"""What a health check asks of an instance, and the verdict it gives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HealthCheckMode(StrEnum):
    """What is spoken to the instance."""

    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"


class Health(StrEnum):
    """The verdict on one instance. UNKNOWN until the first check has ended; it receives no new connections then."""

    UNKNOWN = "unknown"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Durations are seconds. `retries` failures in a row after the first one make an instance unhealthy."""

    mode: HealthCheckMode
    port: int
    interval: int = 10
    timeout: int = 2
    retries: int = 1
    uri: str | None = None
    tls_sni: str | None = None
