"""Can a TCP connection be opened?"""

from __future__ import annotations

import asyncio

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.words import reason_of
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck


class TcpProbe:
    """Opens a connection and closes it without a word."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Healthy when the handshake ends."""
        try:
            _, writer = await asyncio.open_connection(str(address), health_check.port)
        except OSError as error:
            return ProbeResult(False, reason_of(error))
        # A reset instead of a FIN: nothing is left in TIME_WAIT, here or on the instance, however often we check.
        writer.transport.abort()
        return ProbeResult(True, "connected")
