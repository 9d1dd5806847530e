"""The contract of a probe, and what is probed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How one check ended; `message` is in the instance's or the kernel's own words where there are any.

    `weight`, 0 to 100, is what a good check says the instance should have; None leaves it as it was given.
    """

    ok: bool
    message: str
    weight: int | None = None


class Probe(Protocol):
    """Speaks to an instance once. The caller cancels it when `health_check.timeout` is over."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Check the instance at its own address, not through the tunnel. Never raises for what the instance does."""


@dataclass(frozen=True, slots=True)
class TargetKey:
    """One instance of one service: two services may judge the same instance differently."""

    service_id: UUID
    instance_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is probed, where and how."""

    key: TargetKey
    address: IPAddress
    health_check: HealthCheck


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """Something went up or down: a "backend" (its own address, the checked port) or a "service" (VIP and port)."""

    kind: Literal["backend", "service"]
    service_id: UUID
    address: IPAddress
    port: int
    up: bool
