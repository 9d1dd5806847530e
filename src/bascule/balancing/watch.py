"""Watch the agents: keep the health the API shows, and ask for a reconciliation at every doubt.

Doubts: a node appears, answers again after silence, was restarted, or has been silent for so long that it counts as
dead; a load balancer is missing where it is placed, is not announced, is carried by a node that should not or has not
confirmed that it does not, or was reconciled without a node that answers now. What was deleted while a node was silent
is taken off it. Drains end here, too (`drains`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set
from uuid import UUID

import structlog

from bascule.balancing import remarks
from bascule.balancing.drains import Drains
from bascule.balancing.hands import Agents
from bascule.balancing.missed import Missed
from bascule.balancing.noted_agents import NotedAgents
from bascule.balancing.patience import Patience
from bascule.balancing.records import Records
from bascule.balancing.reports import Reports, Seen
from bascule.balancing.silences import Silences
from bascule.balancing.strays import Stray, strays, unknown
from bascule.balancing.sweep import Sweep, ask
from bascule.clock import Clock
from bascule.events.messages import NodeReport
from bascule.model.errors import BasculeError
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.orchestration.queue import Priority
from bascule.store import hypervisors, lb_nodes, load_balancers, placements, tombstones
from bascule.store.database import Database

log = structlog.get_logger(__name__)
_ALL_EVERY = 10.0  # seconds; a look at reports that did not change finds only what the store forgot meanwhile

Answers = Mapping[LBNode | Hypervisor, Seen[LBNodeReport] | Seen[HypervisorReport]]
NodeReports = Mapping[LBNode | Hypervisor, LBNodeReport | HypervisorReport | None]


class Watch:
    """One watcher per orchestrator process. Durations are seconds.

    `reports` and `missed` may be shared with the workers; `publish` gets every report.
    """

    def __init__(
        self,
        *,
        database: Database,
        agents: Agents,
        clock: Clock,
        interval: float,
        sweep: float,
        reports: Reports | None = None,
        missed: Missed | None = None,
        publish: Callable[[NodeReport], Awaitable[None]] | None = None,
        silences: Silences | None = None,
    ) -> None:
        self._reports = Reports(agents, clock) if reports is None else reports
        self._missed, self._publish = Missed() if missed is None else missed, publish
        self._database, self._clock, self._interval = database, clock, interval
        self._agents = NotedAgents(agents, self._reports.commanded)
        self._sweep = Sweep(database=database, reports=self._reports, clock=clock, period=sweep)
        self._records = Records(database, clock)
        self._drains = Drains(database, clock)
        self._silences = silences or Silences(database=database, clock=clock, patience=Patience())
        self._seen: dict[UUID, float | None] = {}
        self._looked_at: dict[UUID, int] = {}
        self._all_looked_at = float("-inf")
        self._foreign: frozenset[UUID] = frozenset()
        self._mismatches: frozenset[str] = frozenset()

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
        now = self._clock.now()
        with self._database.read() as connection:
            nodes, hosts = tuple(lb_nodes.list_all(connection)), tuple(hypervisors.list_all(connection))
        node_reports, host_reports = await asyncio.gather(
            self._reports.of_lb_nodes(nodes), self._reports.of_hypervisors(hosts)
        )
        of_nodes = dict(zip(nodes, node_reports, strict=True))
        seen: dict[LBNode | Hypervisor, Seen[LBNodeReport] | Seen[HypervisorReport]] = {}
        seen.update(zip(nodes, node_reports, strict=True))
        seen.update(zip(hosts, host_reports, strict=True))
        reports = {node: each.report for node, each in seen.items()}
        await self._publish_all(reports, now)
        answering = {node.id for node, each in of_nodes.items() if each.report is not None}
        # First: it lets workers replace a node that counts as dead, which the comparison then asks for.
        dead = self._silences.note(nodes, answering)
        change = self._change(reports) or dead
        if change:
            log.info("comparing every load balancer", reason=change)
        await self._records.keep(of_nodes)
        self._drains.look(of_nodes)
        await self._look_at_news(seen, now)
        self._ask_for_what_was_missed(reports)
        self._warn_of_mismatches(reports)
        await self._sweep.look(nodes, hosts, since=now, everything=bool(change))
        # Only now: a look that failed half way leaves all of this to the next one.
        self._seen.update((node.id, None if report is None else report.started_at) for node, report in reports.items())

    async def _publish_all(self, reports: NodeReports, asked_at: float) -> None:
        """For whoever compares them with more than this watch does."""
        for node, report in reports.items():
            if self._publish is not None and report is not None:
                lb_node = report if isinstance(report, LBNodeReport) else None
                hypervisor = report if isinstance(report, HypervisorReport) else None
                await self._publish(NodeReport(node_id=node.id, at=asked_at, lb_node=lb_node, hypervisor=hypervisor))

    def _change(self, reports: NodeReports) -> str:
        """A sentence about a node that appeared, came back or was restarted; empty when none did."""
        sentence = ""
        for node, report in reports.items():
            before = self._seen.get(node.id)
            if report is not None and before != report.started_at:
                sentence = f"{node.name} answers" if before is None else f"{node.name} was restarted"
        return sentence

    def _ask_for_what_was_missed(self, reports: NodeReports) -> None:
        """Nobody else gets a turn between the two words with `missed`."""
        doubts = {
            each: f"{node.name} was silent"
            for node, report in reports.items()
            if report is not None
            for each in self._missed.by(node.id)
        }
        if doubts:
            with self._database.read() as connection:
                known = frozenset(load_balancers.list_ids(connection))
            still = {each: reason for each, reason in doubts.items() if each in known}
            ask(self._database, still, priority=Priority.EVENT, now=self._clock.now())
        for node, report in reports.items():
            if report is not None:
                self._missed.asked(node.id)

    async def _look_at_news(self, seen: Answers, now: float) -> None:
        """Doubts and strays among the reports that are not as they were; among all of them every few seconds."""
        everybody = now - self._all_looked_at >= _ALL_EVERY
        news = {node: each for node, each in seen.items() if everybody or each.revision != self._looked_at.get(node.id)}
        if not news:
            return
        reports = {node: each.report for node, each in news.items()}
        # After the reports: a load balancer that an agent carries was in the store before.
        with self._database.read() as connection:
            known = frozenset(load_balancers.list_ids(connection))
            placed = {node.id: placements.at_node(connection, node.id) for node in news if isinstance(node, LBNode)}
            gone = tombstones.epochs(connection, unknown(reports, known))
        self._ask_about_doubts(reports, placed, known)
        self._looked_at.update((node.id, each.revision) for node, each in news.items())
        self._all_looked_at = now if everybody else self._all_looked_at
        if everybody:
            self._warn_of_foreign(unknown(reports, known) - gone.keys())
        await self._take_off_all(reports, gone)

    def _ask_about_doubts(
        self, reports: NodeReports, placed: Mapping[UUID, tuple[frozenset[UUID], frozenset[UUID]]], known: Set[UUID]
    ) -> None:
        doubts: dict[UUID, str] = {}
        for node, report in reports.items():
            # What a node that drains leaves stays there for a while: the sweep looks after it.
            drains = isinstance(node, LBNode) and node.drain_until is not None
            if isinstance(report, LBNodeReport) and not drains:
                doubts.update(doubts_about(node.name, report, *placed[node.id], known))
        if doubts:
            ask(self._database, doubts, priority=Priority.EVENT, now=self._clock.now())

    async def _take_off_all(self, reports: NodeReports, gone: Mapping[UUID, int]) -> None:
        found = list(strays(reports, gone))
        if found:
            self._all_looked_at = float("-inf")  # see next time whether it worked
        await asyncio.gather(*(self._take_off(stray) for stray in found))

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
    name: str, report: LBNodeReport, placed: Set[UUID], leaving: Set[UUID], known: Set[UUID]
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
