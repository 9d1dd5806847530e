"""Reports that agents publish, from the bus to what is found of drift, over a real database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from bascule.balancing.auditor import Auditor
from bascule.balancing.drift_metrics import DriftMetrics
from bascule.balancing.published_reports import CLOCKS_DIFFER, PublishedReports
from bascule.events.agent_reports import AGENT_REPORTS, AgentReport, sealed
from bascule.events.in_process import DeadMessage, InProcessBus
from bascule.events.messages import NodeReport
from bascule.events.metrics import EventCounters
from bascule.model.reports import HypervisorReport
from bascule.orchestration.queue import Priority
from bascule.store import changes, drift_findings
from tests.integration.test_orchestrator import HOSTS, NODES, ControlPlane, control

__all__ = ["control"]  # pytest finds the fixture here
EVERY = 60.0


@dataclass
class Heard:
    """A bus that carries reports to an auditor."""

    control: ControlPlane
    bus: InProcessBus
    published: PublishedReports
    auditor: Auditor
    registry: CollectorRegistry
    load_balancer_id: UUID

    async def message(self, *, before: float = 0.0) -> AgentReport:
        """What the first hypervisor's agent published so many seconds ago."""
        report = await self.control.agents.hypervisor_report(HOSTS[0])
        at = self.control.clock.now() - before
        return sealed(HOSTS[0].name, HOSTS[0].agent.token, report, at=at, every=EVERY)

    async def hear(self, *messages: AgentReport) -> tuple[DeadMessage, ...]:
        """Carry them; returns what was set aside."""
        for message in messages:
            await self.bus.publish(AGENT_REPORTS, message.node, message)
        left, done = len(messages), asyncio.Event()

        async def handle(message: AgentReport) -> None:
            nonlocal left
            try:
                await self.published.handle(message)
            finally:
                left -= 1
                if not left:
                    done.set()

        task = asyncio.ensure_future(self.bus.consume(AGENT_REPORTS, handle))
        await done.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return self.bus.dead(AGENT_REPORTS)

    async def found(self) -> list[tuple[str, str]]:
        """What an audit finds: kinds and nodes."""
        await self.auditor.run_once()
        with self.control.database.read() as connection:
            rows = drift_findings.latest(connection, resolved=False, limit=100)
        return [(row.kind, row.node) for row in rows]

    def counted(self, outcome: str) -> float:
        """How many reports ended so."""
        return self.registry.get_sample_value("bascule_published_reports_total", {"outcome": outcome}) or 0.0

    async def reconcile(self) -> None:
        """Somebody asks for it, and it is done."""
        with self.control.database.write() as connection:
            now = self.control.clock.now()
            changes.request(connection, [self.load_balancer_id], priority=Priority.EVENT, reason="test", now=now)
        await self.control.settle()

    def lose_rules(self) -> None:
        """The first hypervisor has none any more."""
        carried = self.control.agents.node(HOSTS[0].id).forwarding
        for identity, configuration in carried.items():
            carried[identity] = replace(configuration, rules=())


@pytest.fixture
async def heard(control: ControlPlane) -> Heard:
    """A load balancer that settled a minute ago."""
    load_balancer_id = await control.settled_load_balancer()
    control.clock.ahead += 60.0
    registry = CollectorRegistry()
    auditor = Auditor(
        database=control.database, clock=control.clock, metrics=DriftMetrics(registry), interval=1.0, kept=1000.0
    )
    bus = InProcessBus(clock=control.clock, counters=EventCounters(registry))
    published = PublishedReports(control.database, control.clock, registry, auditor.take)
    return Heard(control, bus, published, auditor, registry, load_balancer_id)


async def test_drift_is_found_in_what_an_agent_published(heard: Heard) -> None:
    """Without asking the agent, for as long as its reports are good for; then it is silent and not judged."""
    assert await heard.hear(await heard.message()) == ()
    assert await heard.found() == []
    heard.lose_rules()
    heard.control.clock.ahead += 1.0
    await heard.hear(await heard.message())
    heard.control.clock.ahead += EVERY
    assert await heard.found() == [("missing", "hv1")]
    assert heard.counted("taken") == 2


async def test_a_report_from_before_a_change_finds_nothing(heard: Heard) -> None:
    """Not even when the node's clock is ahead by what clocks may differ."""
    heard.lose_rules()
    ahead = await heard.message(before=-CLOCKS_DIFFER)
    heard.control.clock.ahead += 1.0
    await heard.reconcile()
    await heard.hear(ahead)
    assert await heard.found() == []


async def test_older_and_repeated_reports_mean_nothing(heard: Heard) -> None:
    """What comes twice or late is counted and changes nothing."""
    heard.lose_rules()
    broken = await heard.message(before=10.0)
    await heard.reconcile()
    heard.control.clock.ahead += 30.0
    whole = await heard.message()
    assert await heard.hear(whole, broken, whole) == ()
    assert await heard.found() == []
    assert (heard.counted("taken"), heard.counted("old")) == (1, 2)


async def test_what_is_long_past_is_stale(heard: Heard) -> None:
    """Who was away does not judge by what was true when it left, nor is that worth setting aside."""
    heard.lose_rules()
    assert await heard.hear(await heard.message(before=3 * EVERY)) == ()
    assert await heard.found() == []
    assert heard.counted("stale") == 1


async def test_who_cannot_prove_it_is_set_aside_and_counted(heard: Heard) -> None:
    """A wrong token, another's name, a node nobody registered, a clock that is ahead: none reaches the auditor."""
    heard.lose_rules()
    told = await heard.message()
    empty = HypervisorReport(node="hv1", started_at=1.0)
    now = heard.control.clock.now()
    dead = await heard.hear(
        sealed(HOSTS[0].name, "somebody else's token", empty, at=now, every=EVERY),
        replace(told, node=HOSTS[1].name, signature="0" * 64),
        replace(told, node=NODES[0].name),
        replace(told, node="nobody"),
        await heard.message(before=-60.0),
    )
    words = ["not signed", "not signed", "No hypervisor", "No hypervisor", "in the future"]
    assert len(dead) == len(words)
    assert all(word in each.reason for word, each in zip(words, dead, strict=True))
    set_aside = heard.registry.get_sample_value("bascule_events_set_aside_total", {"topic": AGENT_REPORTS.name})
    assert set_aside == len(words)
    assert await heard.found() == []


async def test_what_was_asked_for_counts_before_what_was_published(heard: Heard) -> None:
    """While the control plane reaches an agent it needs no other clock; when it does not, what is published counts."""
    asked_at = heard.control.clock.now()
    answer = await heard.control.agents.hypervisor_report(HOSTS[0])
    heard.lose_rules()
    heard.control.clock.ahead += 1.0
    await heard.hear(await heard.message())
    await heard.auditor.take(NodeReport(node_id=HOSTS[0].id, at=asked_at, hypervisor=answer))
    assert await heard.found() == []
    heard.control.clock.ahead += 20.0
    assert await heard.found() == [("missing", "hv1")]
