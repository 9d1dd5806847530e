"""Audits that operators ask for: every agent is asked now, and what it has is compared with the expected state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import structlog

from bascule.balancing.auditor import Auditor, Judged
from bascule.balancing.hands import Agents
from bascule.balancing.reports import Reports, Seen
from bascule.clock import Clock
from bascule.events.messages import NodeReport
from bascule.model.errors import BasculeError, Taken
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.store import drift_audits, hypervisors, lb_nodes
from bascule.store.database import Database
from bascule.store.drift_audits import AuditRow

N = TypeVar("N")
R = TypeVar("R", LBNodeReport, HypervisorReport)
log = structlog.stdlib.get_logger(__name__)
_LOOK = 1.0  # seconds between two looks for requests
_PATIENCE = 60.0  # seconds until another process believes this one dead


class AuditsOnRequest:
    """One per orchestrator process; each request is done by one of them."""

    def __init__(self, *, database: Database, agents: Agents, clock: Clock, auditor: Auditor) -> None:
        self._database, self._clock, self._auditor = database, clock, auditor
        self._reports = Reports(agents, clock)

    async def run(self) -> None:
        """Do what is asked for until cancelled."""
        while True:
            try:
                worked = await self.run_once()
            except BasculeError as error:
                log.warning("audit on request failed", error=error.sentence)
                worked = False
            if not worked:
                await self._clock.sleep(_LOOK)

    async def run_once(self) -> bool:
        """Do the first that waits; False when none does."""
        now = self._clock.now()
        with self._database.read() as connection:
            asked = drift_audits.waiting(connection, now=now)
        if asked is None:
            return False
        with self._database.write() as connection:
            if not drift_audits.claim(connection, asked.id, now=now, until=now + _PATIENCE):
                return True
        done = await self._audit(asked)
        with self._database.write() as connection:
            drift_audits.end(connection, done)
        log.info("audited on request", answered=done.answered, silent=done.silent, unsettled=done.unsettled)
        return True

    async def _audit(self, asked: AuditRow) -> AuditRow:
        at = self._clock.now()
        with self._database.read() as connection:
            nodes = tuple(node for node in lb_nodes.list_all(connection) if _is_meant(asked, node.id))
            hosts = tuple(host for host in hypervisors.list_all(connection) if _is_meant(asked, host.id))
        balancers, forwardings = await asyncio.gather(
            self._reports.of_lb_nodes(nodes), self._reports.of_hypervisors(hosts)
        )
        found = [
            *(NodeReport(node_id=node.id, at=at, lb_node=report) for node, report in _answers(nodes, balancers)),
            *(NodeReport(node_id=host.id, at=at, hypervisor=report) for host, report in _answers(hosts, forwardings)),
        ]
        reports = {report.node_id: report for report in found}
        judged = await self._judge(reports)
        machines: tuple[LBNode | Hypervisor, ...] = (*nodes, *hosts)
        return replace(
            asked,
            ended_at=judged.at,
            answered=tuple(each.name for each in machines if each.id in reports),
            silent=tuple(each.name for each in machines if each.id not in reports),
            unsettled=judged.unsettled,
        )

    async def _judge(self, reports: Mapping[UUID, NodeReport]) -> Judged:
        try:
            return await self._auditor.audit(reports)
        except Taken:
            # Another orchestrator wrote the same down at this moment: now it is there, and is seen again.
            return await self._auditor.audit(reports)


def _answers(machines: Iterable[N], answers: Iterable[Seen[R]]) -> Iterator[tuple[N, R]]:
    """Those who answered, each with its report."""
    return ((each, seen.report) for each, seen in zip(machines, answers, strict=True) if seen.report is not None)


def _is_meant(asked: AuditRow, node_id: UUID) -> bool:
    return not asked.node_ids or node_id in asked.node_ids
