"""A probe that answers what it was told, for tests and demonstrations."""

from __future__ import annotations

import asyncio

from bascule.healthchecks.interface import ProbeResult
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck


class FakeProbe:
    """Every instance is healthy unless it is in `down` (refuses) or `silent` (never answers).

    `weights` are what checks say.
    """

    def __init__(self) -> None:
        self.down: set[IPAddress] = set()
        self.silent: set[IPAddress] = set()
        self.weights: dict[IPAddress, int] = {}
        self.checks: list[IPAddress] = []

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:  # noqa: ARG002  the interface's
        """Answer as told."""
        self.checks.append(address)
        if address in self.silent:
            await asyncio.Event().wait()
        if address in self.down:
            return ProbeResult(False, "connection refused")
        return ProbeResult(True, "fine", self.weights.get(address))
