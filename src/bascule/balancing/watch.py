"""Watch the agents: keep the health the API shows, and ask for a reconciliation at every doubt. Pure part below.

Doubts: a node appears, answers again after silence, or was restarted; a load balancer is missing where it is placed,
is not announced, or is carried by a node that should not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Set
from uuid import UUID

import structlog

from bascule.balancing.reports import Reports
from bascule.balancing.steps.records import KIND
from bascule.model.errors import BasculeError
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.orchestration.clock import Clock
from bascule.orchestration.queue import Entity, Priority, Queue
from bascule.store import health_statuses, hypervisors, lb_nodes, load_balancers, placements
from bascule.store.database import Database

log = structlog.get_logger(__name__)


class Watch:
    """One watcher per orchestrator process. Durations are seconds."""

    def __init__(
        self, *, database: Database, reports: Reports, queue: Queue, clock: Clock, interval: float, sweep: float
    ) -> None:
        self._database, self._reports, self._queue, self._clock = database, reports, queue, clock
        self._interval, self._sweep = interval, sweep
        self._seen: dict[UUID, float | None] = {}
        self._swept_at = float("-inf")

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self.run_once()
            except BasculeError as error:
                log.warning("watch failed", error=error.sentence)
            await self._clock.sleep(self._interval)

    async def run_once(self) -> None:
        """Look at every agent once."""
        with self._database.read() as connection:
            nodes, hosts = tuple(lb_nodes.list_all(connection)), tuple(hypervisors.list_all(connection))
            placed, known = placements.by_node(connection), frozenset(load_balancers.list_ids(connection))
        node_reports, host_reports = await asyncio.gather(
            self._reports.of_lb_nodes(nodes), self._reports.of_hypervisors(hosts)
        )
        reasons = list(self._changes([*zip(nodes, node_reports, strict=True), *zip(hosts, host_reports, strict=True)]))
        doubts = {load_balancer_id: reason for reason in reasons for load_balancer_id in known}
        for node, report in zip(nodes, node_reports, strict=True):
            if report is not None:
                doubts.update(doubts_about(node, report, placed.get(node.id, frozenset()), known))
        self._write(nodes, node_reports, doubts)
        self._periodically(known)

    def _changes(
        self, answers: list[tuple[LBNode | Hypervisor, LBNodeReport | HypervisorReport | None]]
    ) -> Iterator[str]:
        """Sentences about nodes that appeared, came back or were restarted."""
        for node, report in answers:
            started_at = None if report is None else report.started_at
            before = self._seen.get(node.id)
            self._seen[node.id] = started_at
            if started_at is not None and before != started_at:
                yield f"{node.name} answers" if before is None else f"{node.name} was restarted"

    def _write(self, nodes: tuple[LBNode, ...], reports: list[LBNodeReport | None], doubts: Mapping[UUID, str]) -> None:
        now = self._clock.now()
        with self._database.write() as connection:
            for node, report in zip(nodes, reports, strict=True):
                if report is not None:
                    rows = [health for balancer in report.load_balancers for health in balancer.health]
                    health_statuses.replace_node(connection, node.id, rows, now)
            for load_balancer_id, reason in doubts.items():
                entity = Entity(KIND, str(load_balancer_id))
                self._queue.request(connection, entity, priority=Priority.EVENT, reason=reason, now=now)

    def _periodically(self, known: Set[UUID]) -> None:
        """Ask for everything once per period, spread over it."""
        now = self._clock.now()
        if now - self._swept_at < self._sweep:
            return
        self._swept_at = now
        with self._database.write() as connection:
            for load_balancer_id in known:
                entity = Entity(KIND, str(load_balancer_id))
                delay = load_balancer_id.int % 1000 / 1000 * self._sweep
                self._queue.request(
                    connection, entity, priority=Priority.PERIODIC, reason="periodic", now=now, delay=delay
                )


def doubts_about(node: LBNode, report: LBNodeReport, placed: Set[UUID], known: Set[UUID]) -> Iterator[tuple[UUID, str]]:
    """Load balancers to reconcile because of what one LB node reports. Pure."""
    carried = {balancer.configuration.load_balancer_id: balancer for balancer in report.load_balancers}
    for load_balancer_id in (placed & known) - carried.keys():
        yield load_balancer_id, f"missing on {node.name}"
    for load_balancer_id, balancer in carried.items():
        if load_balancer_id not in known:
            continue
        if load_balancer_id not in placed:
            yield load_balancer_id, f"still on {node.name}"
        elif not balancer.configuration.announced:
            yield load_balancer_id, f"not announced by {node.name}"
