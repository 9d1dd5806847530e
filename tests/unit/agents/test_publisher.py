"""What agents publish of themselves, and when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import CollectorRegistry

from bascule.agents.publisher import ReportPublisher
from bascule.clock import SystemClock
from bascule.events.agent_reports import AGENT_REPORTS, AgentReport, Report, opened
from bascule.events.in_process import InProcessBus
from bascule.events.interface import T, Topic
from bascule.events.metrics import EventCounters
from bascule.model.errors import Unavailable
from bascule.model.health_checks import Health
from bascule.model.reports import (
    BackendHealth,
    BalancerReport,
    DataPlaneReport,
    ForwardingReport,
    HypervisorReport,
    LBNodeReport,
)
from tests.unit.agents.builders import backend, balancer, service

TOKEN = "a token for tests only"


class Bus(InProcessBus):
    """One that can be away, and remembers."""

    def __init__(self) -> None:
        super().__init__(clock=SystemClock(), counters=EventCounters(CollectorRegistry()))
        self.away = False
        self.taken: list[tuple[str, AgentReport]] = []

    async def publish(self, topic: Topic[T], key: str, message: T) -> None:
        """Remember it."""
        assert isinstance(message, AgentReport)
        if self.away:
            raise Unavailable("The bus is away: wait.")
        self.taken.append((key, message))


@dataclass
class Published:
    """A publisher, what it looks at, and what it is told the time is."""

    bus: Bus = field(default_factory=Bus)
    report: Report = field(default_factory=lambda: HypervisorReport(node="hv1", started_at=1.0))
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.publisher = ReportPublisher(
            self.bus, AGENT_REPORTS, node="hv1", token=TOKEN, every=60.0, now=lambda: self.now
        )

    async def look(self, after: float) -> int:
        """So many seconds later; returns how many were published by then."""
        self.now += after
        await self.publisher.look(lambda: self.report)
        return len(self.bus.taken)


@pytest.fixture
def published() -> Published:
    """Nothing has been published yet."""
    return Published()


async def test_the_whole_report_is_published_every_so_often(published: Published) -> None:
    """At the start and after every interval, under the node's name, signed."""
    assert [await published.look(after) for after in (0.0, 1.0, 58.0, 1.0, 1.0)] == [1, 1, 1, 2, 2]
    key, message = published.bus.taken[-1]
    assert (key, message.node, message.at, message.every) == ("hv1", "hv1", 1060.0, 60.0)
    assert opened(message, TOKEN) == published.report


async def test_what_changes_is_published_at_once(published: Published) -> None:
    """A repair, a problem, an instance that comes or goes; packets that are counted are no change."""
    await published.look(0.0)
    assert isinstance(published.report, HypervisorReport)
    published.report = replace(published.report, forwarding=ForwardingReport(counters={"translated": 7}))
    assert await published.look(1.0) == 1
    published.report = replace(published.report, repairs=1)
    assert await published.look(1.0) == 2
    published.report = replace(published.report, problems=("The kernel refuses.",))
    assert await published.look(1.0) == 3


async def test_health_is_a_change_and_the_words_of_checks_are_none(published: Published) -> None:
    """On an LB node."""
    configuration = balancer(service(backend(1)))
    one = BackendHealth(
        service_id=configuration.services[0].id,
        instance_id=configuration.services[0].backends[0].instance_id,
        health=Health.SUCCESS,
        message="200 in 3 ms",
    )
    well = BalancerReport(configuration=configuration, ready=True, announced=True, health=(one,))
    ready = DataPlaneReport(ready=frozenset({configuration.address}))
    published.report = LBNodeReport(node="lb1", started_at=1.0, load_balancers=(well,), data_plane=ready)
    await published.look(0.0)
    slower = replace(well, health=(replace(one, message="200 in 4 ms"),))
    published.report = replace(published.report, load_balancers=(slower,))
    assert await published.look(1.0) == 1
    ill = replace(well, health=(replace(one, health=Health.FAILURE),))
    published.report = replace(published.report, load_balancers=(ill,))
    assert await published.look(1.0) == 2


async def test_a_bus_that_is_away_is_tried_again(published: Published) -> None:
    """What could not be published is published when the bus is back, and both are counted."""
    published.bus.away = True
    assert [await published.look(1.0) for _ in range(2)] == [0, 0]
    published.bus.away = False
    assert await published.look(1.0) == 1
    counted = {metric.name: metric.samples[0].value for metric in published.publisher.collect()}
    assert counted == {"bascule_reports_published": 1, "bascule_reports_failed": 2}
