"""The auditor: takes agents' reports from the bus, compares them with the store, and sees to what it finds.

Every finding is kept with when it was seen first and last, and when it was over. For a load balancer of ours a
reconciliation is asked for once, when the finding is new; the periodic one sees to what lasts. What is foreign is
listed and left alone. What reconciling does not mend is quarantined (`quarantine`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog

from bascule.balancing import audited
from bascule.balancing.audit import DriftKind, Finding, audit, foreign
from bascule.balancing.audited import Audited
from bascule.balancing.drift_metrics import DriftMetrics
from bascule.balancing.quarantine import Rule, place_of
from bascule.balancing.quarantining import Quarantining
from bascule.clock import Clock
from bascule.events.messages import NodeReport
from bascule.model.errors import BasculeError
from bascule.orchestration.queue import Priority
from bascule.store import changes, drift_audits, drift_findings, drift_quarantines, machines
from bascule.store.database import Database

log = structlog.stdlib.get_logger(__name__)
_DELETED_MACHINES_KEPT = 30 * 86_400.0  # seconds; no event of theirs is still under way then


@dataclass(frozen=True, slots=True)
class Judged:
    """An audit is over: its findings are those of `at`, seconds since the epoch; `unsettled` were not judged."""

    at: float
    unsettled: int


class Auditor:
    """`interval` and `kept` are seconds: between two audits, and how long what is over is remembered."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        metrics: DriftMetrics,
        interval: float,
        kept: float,
        quarantining: Quarantining | None = None,
    ) -> None:
        self._quarantining = quarantining or Quarantining(Rule(), None)
        self._database, self._clock, self._metrics = database, clock, metrics
        self._interval, self._kept = interval, kept
        self._reports: dict[tuple[bool, UUID], NodeReport] = {}

    async def take(self, report: NodeReport) -> None:
        """Remember the newest report of a node, of those that were asked for and of those that were not."""
        key = (report.published, report.node_id)
        present = self._reports.get(key)
        if present is None or present.at <= report.at:
            self._reports[key] = report

    async def run(self) -> None:
        """Audit until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self.run_once()
            except BasculeError as error:
                log.warning("audit failed", error=error.sentence)

    async def run_once(self) -> None:
        """Audit once."""
        now = self._clock.now()
        # An agent that says nothing for longer is not judged.
        self._reports = {each: report for each, report in self._reports.items() if report.at > now - report.good_for}
        # Two clocks do not tell which is newer: what was asked for counts while it is fresh.
        keys = sorted(self._reports, reverse=True)
        await self.audit({node_id: self._reports[published, node_id] for published, node_id in keys})

    async def audit(self, reports: Mapping[UUID, NodeReport]) -> Judged:
        """Judge the nodes of these reports, by node. Raises Unavailable."""
        now = self._clock.now()
        # In a thread: with thousands of load balancers this takes seconds, and workers must keep their leases.
        expected, found = await asyncio.to_thread(self._look, reports, now)
        self._write({finding.key: finding for finding in found}, expected, reports, now)
        return Judged(now, len(expected.unsettled & expected.known))

    def _look(self, reports: Mapping[UUID, NodeReport], now: float) -> tuple[Audited, list[Finding]]:
        with self._database.read() as connection:
            expected = audited.read(connection, reports, now)
        found = [finding for inventory in audited.inventories(expected, reports) for finding in audit(inventory)]
        for node in expected.machines:
            if node.id in reports:
                strangers = audited.carried_by(reports[node.id]) - expected.unsettled
                found += foreign(node.id, node.name, strangers, expected.known, expected.gone)
        return expected, found

    def _write(
        self,
        found: Mapping[str, Finding],
        expected: Audited,
        reports: Mapping[UUID, NodeReport],
        now: float,
    ) -> None:
        registered = {node.id for node in expected.machines}
        with self._database.write() as connection:
            before = drift_findings.lasting(connection)
            new = {key: finding for key, finding in found.items() if key not in before}
            over = [
                key
                for key, row in before.items()
                if key not in found
                and (row.node_id not in registered or row.node_id in reports)
                and row.load_balancer_id not in expected.unsettled
            ]
            drift_findings.add(connection, {key: _fields(finding) for key, finding in new.items()}, now=now)
            for key in found.keys() & before.keys():
                drift_findings.see_again(connection, key, found[key].words, now=now)
            drift_findings.resolve(connection, over, now=now)
            quarantined = self._quarantining.update(connection, new.values(), now=now)
            for finding in new.values():
                if finding.load_balancer_id in expected.known and place_of(finding) not in quarantined:
                    reason = f"drift: {finding.kind} on {finding.node}"
                    changes.request(
                        connection, [finding.load_balancer_id], priority=Priority.EVENT, reason=reason, now=now
                    )
            drift_findings.forget(connection, before=now - self._kept)
            drift_audits.forget(connection, before=now - self._kept)
            drift_quarantines.forget(connection, before=now - self._kept)
            machines.forget_deleted(connection, before=now - _DELETED_MACHINES_KEPT)
        self._tell(new, [DriftKind(before[key].kind) for key in over])
        lasting = Counter(finding.kind for finding in found.values())
        lasting.update(DriftKind(row.kind) for key, row in before.items() if key not in found and key not in over)
        self._metrics.last(lasting)
        self._metrics.quarantined(len(quarantined))

    def _tell(self, new: Mapping[str, Finding], over: list[DriftKind]) -> None:
        for finding in new.values():
            log.warning(
                "drift",
                kind=finding.kind,
                node=finding.node,
                load_balancer=str(finding.load_balancer_id),
                what=finding.words,
            )
        self._metrics.changed([finding.kind for finding in new.values()], over)


def _fields(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.kind,
        "node_id": str(finding.node_id),
        "node": finding.node,
        "load_balancer_id": str(finding.load_balancer_id),
        "words": finding.words,
    }
