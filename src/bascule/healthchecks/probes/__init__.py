"""One file a kind of check."""

from __future__ import annotations

from pathlib import Path

from bascule.healthchecks.interface import Probe
from bascule.healthchecks.probes.dns import DnsProbe
from bascule.healthchecks.probes.http import HttpProbe
from bascule.healthchecks.probes.ping import PingProbe
from bascule.healthchecks.probes.script import ScriptProbe
from bascule.healthchecks.probes.smtp import SmtpProbe
from bascule.healthchecks.probes.tcp import TcpProbe
from bascule.healthchecks.probes.udp import UdpProbe
from bascule.healthchecks.scripts import FOLDER, ScriptFolder
from bascule.model.health_checks import HealthCheckMode


def real_probes(scripts: ScriptFolder | None = None, authorities: Path | None = None) -> dict[HealthCheckMode, Probe]:
    """The probe of every mode. `authorities` is a PEM file of whom verified certificates must be.

    Raises OSError when it cannot be read.
    """
    http = HttpProbe(authorities)
    return {
        HealthCheckMode.TCP: TcpProbe(),
        HealthCheckMode.HTTP: http,
        HealthCheckMode.HTTPS: http,
        HealthCheckMode.SMTP: SmtpProbe(),
        HealthCheckMode.DNS: DnsProbe(),
        HealthCheckMode.UDP: UdpProbe(),
        HealthCheckMode.PING: PingProbe(),
        HealthCheckMode.SCRIPT: ScriptProbe(scripts or ScriptFolder(FOLDER)),
    }
