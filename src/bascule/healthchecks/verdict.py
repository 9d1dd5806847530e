"""The verdict on one instance, from the results of its checks: pure.

The first result ever decides at once, so that a new instance serves quickly. After that one success makes an instance
healthy, and `HealthCheck.retries` failures in a row after the first one make it unhealthy.
"""

from __future__ import annotations

from dataclasses import dataclass

from bascule.healthchecks.interface import ProbeResult
from bascule.model.health_checks import Health


@dataclass(frozen=True, slots=True)
class Verdict:
    """`failures` counts those in a row; `message` is the last check's."""

    health: Health = Health.UNKNOWN
    failures: int = 0
    message: str = ""


def judge(verdict: Verdict, result: ProbeResult, retries: int) -> Verdict:
    """The verdict after one more result."""
    if result.ok:
        return Verdict(Health.SUCCESS, 0, result.message)
    failures = verdict.failures + 1
    tolerated = verdict.health is Health.SUCCESS and failures <= retries
    return Verdict(Health.SUCCESS if tolerated else Health.FAILURE, failures, result.message)
