"""What the orchestrator hears of: the buses it consumes, the auditor, and the numbers it shows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from bascule.balancing.auditor import Auditor
from bascule.balancing.drift_metrics import DriftMetrics
from bascule.balancing.machines import MachineFollower
from bascule.events.in_process import InProcessBus
from bascule.events.interface import Bus
from bascule.events.messages import MACHINES, REPORTS, NodeReport
from bascule.events.metrics import EventCounters
from bascule.model.errors import InvalidInput, SystemFailure
from bascule.orchestration.clock import Clock
from bascule.programs.settings import KafkaSettings, OrchestratorSettings
from bascule.store.database import Database

_DAY = 86_400.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What to run beside the workers, and where the watch publishes agents' reports."""

    inside: InProcessBus
    outside: Bus | None
    work: tuple[Coroutine[None, None, None], ...]
    stop_showing: Callable[[], None] | None = None

    async def publish(self, report: NodeReport) -> None:
        """Hand a report to the auditor."""
        await self.inside.publish(REPORTS, str(report.node_id), report)

    async def close(self) -> None:
        """Let go of connections, and of the port."""
        if self.stop_showing is not None:
            self.stop_showing()
        if self.outside is not None:
            await self.outside.close()


def hearing(settings: OrchestratorSettings, database: Database, clock: Clock) -> Hearing:
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
    )
    outside = _kafka(settings, clock, counters) if settings.kafka_servers else None
    stop_showing = _show(settings.metrics_listen, registry) if settings.metrics_listen else None
    work: list[Coroutine[None, None, None]] = [inside.consume(REPORTS, auditor.take), auditor.run()]
    if outside is not None:
        topic = replace(MACHINES, name=settings.kafka_machines_topic)
        work.append(outside.consume(topic, MachineFollower(database, clock).handle))
        log.info("events are heard", servers=settings.kafka_servers, topic=topic.name)
    return Hearing(inside, outside, tuple(work), stop_showing)


def _kafka(settings: KafkaSettings, clock: Clock, counters: EventCounters) -> Bus:
    try:
        # Only here: an installation without Kafka needs no client for it.
        from bascule.events.kafka import KafkaBus, KafkaOptions  # noqa: PLC0415
    except ImportError as error:
        raise InvalidInput(
            "BASCULE_KAFKA_SERVERS is set and aiokafka is not installed: pip install 'bascule[kafka]'.",
            field="BASCULE_KAFKA_SERVERS",
        ) from error
    options = KafkaOptions(
        servers=settings.kafka_servers,
        group=settings.kafka_group,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
        partitions=settings.kafka_partitions,
        replicas=settings.kafka_replicas,
    )
    return KafkaBus(options, clock=clock, counters=counters)


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
