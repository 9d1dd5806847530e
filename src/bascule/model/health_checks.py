"""What a health check asks of an instance, and the verdict it gives. Meanings are keepalived's (keepalived.conf(5))."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bascule.model.addresses import IPAddress


class HealthCheckMode(StrEnum):
    """What is spoken to the instance. The first three are Exoscale's, the others ours."""

    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"
    SMTP = "smtp"
    DNS = "dns"
    UDP = "udp"
    PING = "ping"
    SCRIPT = "script"


class Health(StrEnum):
    """The verdict on one instance. UNKNOWN until the first check has ended; it receives no new connections then."""

    UNKNOWN = "unknown"
    SUCCESS = "success"
    FAILURE = "failure"


class OnFailure(StrEnum):
    """What happens to an instance that failed: it is left out, or kept with weight 0 for its open connections."""

    REMOVE = "remove"
    INHIBIT = "inhibit"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a service's instances are checked, and what follows; the defaults are what Exoscale's API means.

    Durations are seconds. `retries` failures in a row after the first one make an instance unhealthy, `rise` successes
    in a row make it healthy again; checks between the first doubt and the new verdict follow each other at
    `retry_interval` (None: `interval`), and the first check waits a random time up to `warm_up`.

    http, https: `status_codes` as in "200-299,404" (None: 200 to 399), `body_pattern` an RE2 expression found in the
    body, `body_digest` the hexadecimal SHA-256 or MD5 of the body, `host` the virtual host. smtp: `smtp_helo` is our
    name. dns: `dns_name` and `dns_type` are asked, `dns_answer` wants at least one record. udp: `udp_payload` is sent
    and `udp_reply` must begin the answer, both hexadecimal; "" is any answer, None needs none. script: `script` is the
    name of an executable that the operator installed; with `script_weight` its exit status is a weight.

    The service is up while the weights of its healthy instances sum up to `quorum`, with `hysteresis` on either side;
    while it is down, `sorry_server` serves if there is one.
    """

    mode: HealthCheckMode
    port: int
    interval: int = 10
    timeout: int = 2
    retries: int = 1
    uri: str | None = None
    tls_sni: str | None = None
    retry_interval: int | None = None
    rise: int = 1
    warm_up: int = 0
    on_failure: OnFailure = OnFailure.REMOVE
    status_codes: str | None = None
    body_pattern: str | None = None
    body_digest: str | None = None
    host: str | None = None
    tls_verify: bool = False
    smtp_helo: str | None = None
    dns_name: str | None = None
    dns_type: str | None = None
    dns_answer: bool = False
    udp_payload: str | None = None
    udp_reply: str | None = None
    script: str | None = None
    script_weight: bool = False
    quorum: int = 1
    hysteresis: int = 0
    sorry_server: IPAddress | None = None
