"""What a health check of ours may say beside Exoscale's fields, all of it optional.

Types are checked here; what is between the quotes by `bascule.model.health_check_rules`, for the agents too.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bascule.model.addresses import IPAddress
from bascule.model.health_checks import OnFailure
from bascule.wire.fields import Body, MachineAddress, View

_OnFailure = Annotated[OnFailure, Field(strict=False)]
_Text = Annotated[str, Field(max_length=255)]
_Octets = Annotated[str, Field(max_length=1024)]


class HealthCheckOptions(Body):
    """Durations are seconds. Each field is explained at `bascule.model.health_checks.HealthCheck`."""

    retry_interval: int | None = None
    rise: int | None = None
    warm_up: int | None = None
    on_failure: _OnFailure | None = None
    status_codes: _Text | None = None
    body_pattern: _Text | None = None
    body_digest: _Text | None = None
    host: _Text | None = None
    tls_verify: bool | None = None
    smtp_helo: _Text | None = None
    dns_name: _Text | None = None
    dns_type: _Text | None = None
    dns_answer: bool | None = None
    udp_payload: _Octets | None = None
    udp_reply: _Octets | None = None
    script: _Text | None = None
    script_weight: bool | None = None
    quorum: int | None = None
    hysteresis: int | None = None
    sorry_server: MachineAddress | None = None


class HealthCheckOptionsView(View):
    """What is as it would be without our fields is left out, so that an ordinary check looks like Exoscale's."""

    retry_interval: int | None = None
    rise: int | None = None
    warm_up: int | None = None
    on_failure: OnFailure | None = None
    status_codes: str | None = None
    body_pattern: str | None = None
    body_digest: str | None = None
    host: str | None = None
    tls_verify: bool | None = None
    smtp_helo: str | None = None
    dns_name: str | None = None
    dns_type: str | None = None
    dns_answer: bool | None = None
    udp_payload: str | None = None
    udp_reply: str | None = None
    script: str | None = None
    script_weight: bool | None = None
    quorum: int | None = None
    hysteresis: int | None = None
    sorry_server: IPAddress | None = None
