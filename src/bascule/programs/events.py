"""What the orchestrator hears of: the buses it consumes, the auditor, and the numbers it shows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from bascule.balancing.auditor import Auditor
from bascule.balancing.audits_on_request import AuditsOnRequest
from bascule.balancing.drift_metrics import DriftMetrics
from bascule.balancing.hands import Agents
from bascule.balancing.machines import MachineFollower
from bascule.balancing.published_reports import PublishedReports
from bascule.balancing.quarantine import Rule
from bascule.balancing.quarantining import Quarantining
from bascule.clock import Clock
from bascule.events.agent_reports import AGENT_REPORTS
from bascule.events.in_process import InProcessBus
from bascule.events.interface import Bus
from bascule.events.messages import MACHINES, REPORTS, NodeReport
from bascule.events.metrics import EventCounters
from bascule.model.errors import SystemFailure
from bascule.orchestration.pages import Pages
from bascule.programs.buses import kafka
from bascule.programs.settings import OrchestratorSettings
from bascule.store.database import Database
from bascule.store.tables import orchestration

_HOUR, _DAY = 3600.0, 86_400.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What to run beside the workers, where the watch publishes agents' reports, and the numbers that are shown."""

    registry: CollectorRegistry
    inside: InProcessBus
    outside: tuple[Bus, ...]
    work: tuple[Coroutine[None, None, None], ...]
    stop_showing: Callable[[], None] | None = None

    async def publish(self, report: NodeReport) -> None:
        """Hand a report to the auditor."""
        await self.inside.publish(REPORTS, str(report.node_id), report)

    async def close(self) -> None:
        """Let go of connections, and of the port."""
        if self.stop_showing is not None:
            self.stop_showing()
        for bus in self.outside:
            await bus.close()


def hearing(settings: OrchestratorSettings, database: Database, clock: Clock, agents: Agents) -> Hearing:
    """Raises InvalidInput and SystemFailure for settings that cannot be followed."""
    registry = CollectorRegistry()
    counters = EventCounters(registry)
    inside = InProcessBus(clock=clock, counters=counters)
    auditor = Auditor(
        database=database,
        clock=clock,
        metrics=DriftMetrics(registry),
        interval=settings.audit_interval,
        kept=settings.drift_kept_days * _DAY,
        quarantining=Quarantining(
            Rule(reconciliations=settings.drift_quarantine_after, window=settings.drift_quarantine_hours * _HOUR),
            Pages(orchestration) if settings.page_urls else None,
        ),
    )
    buses, listening = _listen(settings, database, clock, auditor, counters=counters, registry=registry)
    stop_showing = _show(settings.metrics_listen, registry) if settings.metrics_listen else None
    on_request = AuditsOnRequest(database=database, agents=agents, clock=clock, auditor=auditor)
    work = (inside.consume(REPORTS, auditor.take), auditor.run(), on_request.run(), *listening)
    return Hearing(registry, inside, buses, work, stop_showing)


def _listen(
    settings: OrchestratorSettings,
    database: Database,
    clock: Clock,
    auditor: Auditor,
    *,
    counters: EventCounters,
    registry: CollectorRegistry,
) -> tuple[tuple[Bus, ...], list[Coroutine[None, None, None]]]:
    """The buses that are heard, and the work of hearing them; none without brokers."""
    if not settings.kafka_servers:
        return (), []
    machines, reports = (
        replace(MACHINES, name=settings.kafka_machines_topic),
        replace(AGENT_REPORTS, name=settings.kafka_reports_topic),
    )
    buses = (
        kafka(settings, clock, counters, group=settings.kafka_group),
        # A group of its own: who joins or leaves one topic's consumers must not hold up the other's.
        kafka(settings, clock, counters, group=f"{settings.kafka_group}.reports"),
    )
    published = PublishedReports(database, clock, registry, auditor.take)
    log.info("events are heard", servers=settings.kafka_servers, topics=[machines.name, reports.name])
    return buses, [
        buses[0].consume(machines, MachineFollower(database, clock, settings.drain_deadline).handle),
        buses[1].consume(reports, published.handle),
    ]


def _show(listen: str, registry: CollectorRegistry) -> Callable[[], None]:
    """Answer Prometheus from a thread; returns what ends it."""
    address, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), address.strip("[]"), registry)
    except (OSError, OverflowError) as error:
        raise SystemFailure(f"Cannot listen on {listen} ({error}): check BASCULE_METRICS_LISTEN.") from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
