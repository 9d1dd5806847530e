"""Hear the reports that agents publish: each is proven to be its node's, and none is older than the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter

from bascule.clock import Clock
from bascule.events.agent_reports import AgentKind, AgentReport, opened
from bascule.events.messages import NodeReport
from bascule.model.errors import InvalidInput, NotFound
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import LBNodeReport
from bascule.store import hypervisors, lb_nodes
from bascule.store.database import Database

CLOCKS_DIFFER = 5.0  # seconds, at most; reports of a node whose clock is further ahead are set aside
_LATE = 15.0  # seconds that a report may be under way
_OUTCOMES = ("taken", "old", "stale")


class PublishedReports:
    """Handles what comes over the bus; `take` is where reports go that count."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        registry: CollectorRegistry,
        take: Callable[[NodeReport], Awaitable[None]],
    ) -> None:
        self._database, self._clock, self._take = database, clock, take
        self._last: dict[UUID, float] = {}
        self._heard = Counter(
            "bascule_published_reports", "What became of agents' published reports.", ["outcome"], registry=registry
        )
        for outcome in _OUTCOMES:
            self._heard.labels(outcome)

    async def handle(self, message: AgentReport) -> None:
        """Raises Forbidden, NotFound or InvalidInput for what is set aside, Unavailable while the database is away."""
        now, good_for = self._clock.now(), 2 * message.every + _LATE
        if message.at > now + CLOCKS_DIFFER:
            raise InvalidInput(
                f"The report of {message.node} is from {message.at - now:.0f} s in the future: set the clocks by NTP."
            )
        if message.at < now - good_for:
            self._heard.labels("stale").inc()
            return
        node = self._sender(message)
        report = await asyncio.to_thread(opened, message, node.agent.token)
        if message.at <= self._last.get(node.id, float("-inf")):
            self._heard.labels("old").inc()
            return
        self._last[node.id] = message.at
        self._heard.labels("taken").inc()
        await self._take(
            NodeReport(
                node_id=node.id,
                # By our clock it may be from so long before: nothing that changed since is to be taken for drift.
                at=message.at - CLOCKS_DIFFER,
                good_for=good_for,
                published=True,
                lb_node=report if isinstance(report, LBNodeReport) else None,
                hypervisor=None if isinstance(report, LBNodeReport) else report,
            )
        )

    def _sender(self, message: AgentReport) -> LBNode | Hypervisor:
        with self._database.read() as connection:
            found: LBNode | Hypervisor | None
            if message.kind is AgentKind.LB_NODE:
                found = lb_nodes.named(connection, message.node)
            else:
                found = hypervisors.named(connection, message.node)
        if found is None:
            raise NotFound(
                f"No {message.kind} is registered as {message.node}: register it, or set BASCULE_REGISTERED_NAME there."
            )
        return found
