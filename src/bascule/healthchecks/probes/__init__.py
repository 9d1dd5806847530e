"""One file a kind of check."""

from __future__ import annotations

from bascule.healthchecks.interface import Probe
from bascule.healthchecks.probes.http import HttpProbe
from bascule.healthchecks.probes.tcp import TcpProbe
from bascule.model.health_checks import HealthCheckMode


def real_probes() -> dict[HealthCheckMode, Probe]:
    """The probe of every mode."""
    http = HttpProbe()
    return {HealthCheckMode.TCP: TcpProbe(), HealthCheckMode.HTTP: http, HealthCheckMode.HTTPS: http}
