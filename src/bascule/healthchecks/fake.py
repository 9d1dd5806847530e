"""A probe that answers what it was told, for tests and demonstrations."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

from bascule.healthchecks.interface import ProbeResult
from bascule.model.health_checks import HealthCheck


class FakeProbe:
    """Every instance is healthy unless it is in `down` (refuses) or `silent` (never answers).

    `weights` are what checks say.
    """

    def __init__(self) -> None:
        self.down: set[IPv4Address] = set()
        self.silent: set[IPv4Address] = set()
        self.weights: dict[IPv4Address, int] = {}
        self.checks: list[IPv4Address] = []

    async def check(self, address: IPv4Address, health_check: HealthCheck) -> ProbeResult:  # noqa: ARG002  the interface's
        """Answer as told."""
        self.checks.append(address)
        if address in self.silent:
            await asyncio.Event().wait()
        if address in self.down:
            return ProbeResult(False, "connection refused")
        return ProbeResult(True, "fine", self.weights.get(address))
