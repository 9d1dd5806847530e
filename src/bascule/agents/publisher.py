"""Tell whoever listens what this machine has: its whole report, every so often and at once when that changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from bascule.events.agent_reports import AgentReport, Report, sealed
from bascule.events.interface import Bus, Topic
from bascule.model.errors import BasculeError
from bascule.model.reports import LBNodeReport, without_totals

log = structlog.stdlib.get_logger(__name__)
_LOOK = 1.0  # seconds between two looks at what the agent observes
_PAUSE = 5.0  # seconds after the bus did not take a report


class ReportPublisher(Collector):
    """`node` is the name under which the machine is registered, `token` its agent's; `every` is seconds."""

    def __init__(
        self,
        bus: Bus,
        topic: Topic[AgentReport],
        *,
        node: str,
        token: str,
        every: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bus, self._topic, self._node, self._token, self._every = bus, topic, node, token, every
        self._now = now
        self._told: object = None
        self._told_at = float("-inf")
        self._published = self._failed = 0
        self._failing = False

    async def run(self, report: Callable[[], Report]) -> None:
        """Publish until cancelled; whatever becomes of it, the agent goes on."""
        while True:
            try:
                taken = await self.look(report)
            except Exception:
                log.exception("publishing failed")
                taken = False
            await asyncio.sleep(_LOOK if taken else _PAUSE)

    async def look(self, report: Callable[[], Report]) -> bool:
        """Publish if it is time, or if something changed; False when the bus did not take it."""
        found, at = report(), self._now()
        standing = what_stands(found)
        if standing == self._told and 0 <= at - self._told_at < self._every:
            return True
        try:
            # In a thread: the report of a large node takes a while to pack, and health checks must not wait.
            message = await asyncio.to_thread(sealed, self._node, self._token, found, at=at, every=self._every)
            await self._bus.publish(self._topic, self._node, message)
        except BasculeError as error:
            self._failed += 1
            if not self._failing:
                log.warning("report is not published", error=error.sentence)
            self._failing = True
            return False
        if self._failing:
            log.info("reports are published again")
        self._failing = False
        self._published += 1
        self._told, self._told_at = standing, at
        return True

    async def close(self) -> None:
        """Let go of connections."""
        await self._bus.close()

    def describe(self) -> list[Metric]:
        """Nothing in advance, as the agents' own metrics."""
        return []

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        yield CounterMetricFamily("bascule_reports_published", "Reports that the bus took.", self._published)
        yield CounterMetricFamily("bascule_reports_failed", "Reports that the bus did not take.", self._failed)


def what_stands(report: Report) -> object:
    """What makes a report worth telling at once: everything but counters and the words of health checks. Pure."""
    if isinstance(report, LBNodeReport):
        balancers = tuple(
            (each.configuration, each.ready, each.announced, tuple(one.health for one in each.health))
            for each in report.load_balancers
        )
        return balancers, report.data_plane.ready, report.announcer, report.problems, report.repairs
    return without_totals(report)
