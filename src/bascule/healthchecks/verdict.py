"""The verdict on one instance, from the results of its checks: pure.

The first result ever decides at once, so that a new instance serves quickly. After that `HealthCheck.rise` successes in
a row make an instance healthy, and `HealthCheck.retries` failures in a row after the first one make it unhealthy
(keepalived's `retry`).
"""

from __future__ import annotations

from dataclasses import dataclass

from bascule.healthchecks.interface import ProbeResult
from bascule.model.health_checks import Health, HealthCheck


@dataclass(frozen=True, slots=True)
class Verdict:
    """`failures` and `successes` count those in a row that speak against the verdict; `message` is the last check's.

    `weight` is what a healthy instance's last good check asked for; None leaves it the weight it was given.
    """

    health: Health = Health.UNKNOWN
    failures: int = 0
    message: str = ""
    successes: int = 0
    weight: int | None = None

    @property
    def is_up(self) -> bool:
        """Whether the instance serves."""
        return self.health is Health.SUCCESS


def judge(verdict: Verdict, result: ProbeResult, retries: int, rise: int = 1) -> Verdict:
    """The verdict after one more result."""
    if result.ok:
        successes = verdict.successes + 1
        if verdict.health is Health.FAILURE and successes < rise:
            return Verdict(Health.FAILURE, verdict.failures, result.message, successes)
        return Verdict(Health.SUCCESS, 0, result.message, 0, result.weight)
    failures = verdict.failures + 1
    if verdict.health is Health.SUCCESS and failures <= retries:
        return Verdict(Health.SUCCESS, failures, result.message, 0, verdict.weight)
    return Verdict(Health.FAILURE, failures, result.message)


def pause(verdict: Verdict, check: HealthCheck) -> float:
    """Seconds from the begin of the last check to the next: the short ones lie between a doubt and its end."""
    doubt = verdict.failures if verdict.health is Health.SUCCESS else verdict.successes
    if doubt and check.retry_interval is not None:
        return float(check.retry_interval)
    return float(check.interval)
