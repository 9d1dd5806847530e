"""Watch the agents: keep the health the API shows, and ask for a reconciliation at every doubt.

Doubts: a node appears, answers again after silence, or was restarted; a load balancer is missing where it is placed,
is not announced, is carried by a node that should not or has not confirmed that it does not, or was reconciled without
a node that answers now. What was deleted while a node was silent is taken off it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set
from uuid import UUID

import structlog

from bascule.balancing import remarks
from bascule.balancing.hands import Agents
from bascule.balancing.missed import Missed
from bascule.balancing.reports import Reports
from bascule.balancing.strays import Stray, strays, unknown
from bascule.events.messages import NodeReport
from bascule.model.errors import BasculeError
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport, states_of
from bascule.orchestration.clock import Clock
from bascule.orchestration.queue import Priority
from bascule.store import (
    changes,
    health_statuses,
    hypervisors,
    lb_nodes,
    load_balancers,
    node_states,
    placements,
    tombstones,
)
from bascule.store.database import Database

log = structlog.get_logger(__name__)
_STATES_EVERY = 3.0  # seconds; counters of everything are too much to write at every look

NodeReports = dict[LBNode | Hypervisor, LBNodeReport | HypervisorReport | None]


class Watch:
    """One watcher per orchestrator process. Durations are seconds."""

    def __init__(
        self,
        *,
        database: Database,
        agents: Agents,
        clock: Clock,
        interval: float,
        sweep: float,
        missed: Missed | None = None,
        publish: Callable[[NodeReport], Awaitable[None]] | None = None,
    ) -> None:
        self._missed = missed or Missed()
        self._database, self._agents, self._clock = database, agents, clock
        self._reports = Reports(agents, clock)
        self._interval, self._sweep, self._publish = interval, sweep, publish
        self._seen: dict[UUID, float | None] = {}
        self._kept: dict[UUID, Mapping[UUID, str]] = {}
        self._foreign: frozenset[UUID] = frozenset()
        self._mismatches: frozenset[str] = frozenset()
        self._swept_at = self._states_kept_at = float("-inf")

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
        asked_at = self._clock.now()
        reports = await self._ask_everybody()
        await self._publish_all(reports, asked_at)
        # After the reports: a load balancer that an agent carries was in the store before.
        with self._database.read() as connection:
            known = frozenset(load_balancers.list_ids(connection))
            placed, leaving = placements.by_node(connection), placements.by_node(connection, leaving=True)
            gone = tombstones.epochs(connection, unknown(reports, known))
        doubts = dict.fromkeys(known, reason) if (reason := self._change(reports)) else {}
        for node, report in reports.items():
            if report is not None:
                doubts.update(dict.fromkeys(self._missed.heard(node.id) & known, f"{node.name} was silent"))
            if isinstance(report, LBNodeReport):
                mine = placed.get(node.id, frozenset())
                doubts.update(doubts_about(node.name, report, mine, known, leaving.get(node.id, frozenset())))
        self._write(reports, doubts)
        self._sweep_when_due(known)
        self._warn_of_mismatches(reports)
        self._warn_of_foreign(unknown(reports, known) - gone.keys())
        await asyncio.gather(*(self._take_off(stray) for stray in strays(reports, gone)))

    async def _publish_all(self, reports: NodeReports, asked_at: float) -> None:
        """For whoever compares them with more than this watch does."""
        for node, report in reports.items():
            if self._publish is not None and report is not None:
                lb_node = report if isinstance(report, LBNodeReport) else None
                hypervisor = report if isinstance(report, HypervisorReport) else None
                await self._publish(NodeReport(node_id=node.id, at=asked_at, lb_node=lb_node, hypervisor=hypervisor))

    async def _ask_everybody(self) -> NodeReports:
        with self._database.read() as connection:
            nodes, hosts = tuple(lb_nodes.list_all(connection)), tuple(hypervisors.list_all(connection))
        node_reports, host_reports = await asyncio.gather(
            self._reports.of_lb_nodes(nodes), self._reports.of_hypervisors(hosts)
        )
        return {**dict(zip(nodes, node_reports, strict=True)), **dict(zip(hosts, host_reports, strict=True))}

    def _change(self, reports: NodeReports) -> str:
        """A sentence about a node that appeared, came back or was restarted; empty when none did."""
        sentence = ""
        for node, report in reports.items():
            started_at, before = None if report is None else report.started_at, self._seen.get(node.id)
            self._seen[node.id] = started_at
            if started_at is not None and before != started_at:
                sentence = f"{node.name} answers" if before is None else f"{node.name} was restarted"
        return sentence

    def _write(self, reports: NodeReports, doubts: Mapping[UUID, str]) -> None:
        now = self._clock.now()
        states = self._states_to_keep(reports, now)
        with self._database.write() as connection:
            for node, report in reports.items():
                if isinstance(report, LBNodeReport):
                    rows = [health for balancer in report.load_balancers for health in balancer.health]
                    health_statuses.replace_node(connection, node.id, rows, now)
            for node_id, found in states.items():
                node_states.replace_node(connection, node_id, found, self._kept.get(node_id), now)
            for load_balancer_id, reason in sorted(doubts.items()):
                changes.request(connection, [load_balancer_id], priority=Priority.EVENT, reason=reason, now=now)

        self._kept.update(states)

    def _states_to_keep(self, reports: NodeReports, now: float) -> dict[UUID, Mapping[UUID, str]]:
        """What every LB node that answers has, when it is time to write it down."""
        if now - self._states_kept_at < _STATES_EVERY:
            return {}
        self._states_kept_at = now
        return {
            node.id: node_states.written(states_of(report))
            for node, report in reports.items()
            if isinstance(report, LBNodeReport)
        }

    def _sweep_when_due(self, known: Set[UUID]) -> None:
        """Ask for everything once per period, spread over it."""
        now = self._clock.now()
        if now - self._swept_at < self._sweep:
            return
        self._swept_at = now
        with self._database.write() as connection:
            for load_balancer_id in sorted(known):
                delay = load_balancer_id.int % 1000 / 1000 * self._sweep
                changes.request(
                    connection, [load_balancer_id], priority=Priority.PERIODIC, reason="periodic", now=now, delay=delay
                )

    def _warn_of_mismatches(self, reports: NodeReports) -> None:
        found = frozenset(
            sentence
            for node, report in reports.items()
            if isinstance(node, LBNode) and isinstance(report, LBNodeReport)
            for sentence in remarks.mismatch(node, report.data_plane_name)
        )
        for sentence in sorted(found - self._mismatches):
            log.error("problem", problem=sentence)
        for sentence in sorted(self._mismatches - found):
            log.info("problem is over", problem=sentence)
        self._mismatches = found

    def _warn_of_foreign(self, foreign: frozenset[UUID]) -> None:
        if foreign != self._foreign:
            self._foreign = foreign
            log.warning("load balancers on nodes that this store never knew", load_balancers=sorted(map(str, foreign)))

    async def _take_off(self, stray: Stray) -> None:
        log.info("taking off what was deleted", node=stray.node.name, load_balancer=str(stray.load_balancer_id))
        try:
            if isinstance(stray.node, LBNode):
                await self._agents.delete_balancer(stray.node, stray.load_balancer_id, stray.version)
            else:
                await self._agents.delete_forwarding(stray.node, stray.load_balancer_id, stray.version)
        except BasculeError as error:
            log.warning("could not take off", node=stray.node.name, error=error.sentence)


def doubts_about(
    name: str, report: LBNodeReport, placed: Set[UUID], known: Set[UUID], leaving: Set[UUID] = frozenset()
) -> Iterator[tuple[UUID, str]]:
    """Load balancers to reconcile because of what one LB node reports. Pure."""
    for load_balancer_id in leaving & known:
        yield load_balancer_id, f"to be taken off {name}"
    carries = {balancer.configuration.load_balancer_id: balancer for balancer in report.load_balancers}
    for load_balancer_id in (placed & known) - carries.keys():
        yield load_balancer_id, f"missing on {name}"
    for load_balancer_id, balancer in carries.items():
        if load_balancer_id not in known:
            continue
        if load_balancer_id not in placed:
            yield load_balancer_id, f"still on {name}"
        elif not balancer.configuration.announced:
            yield load_balancer_id, f"not announced by {name}"
