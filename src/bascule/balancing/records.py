"""Keep in the store what LB nodes report: health and counters, for the API to show. Only what changed is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import islice
from uuid import UUID

from bascule.balancing.reports import Seen
from bascule.clock import Clock
from bascule.model.nodes import LBNode
from bascule.model.reports import BalancerState, LBNodeReport, states_of
from bascule.store import health_statuses, node_states
from bascule.store.database import Database

_STATES_EVERY = 3.0  # seconds; counters of everything are too much to write at every look
_STATES_SHARE = 20  # and take at most one part in so many of the time
_STATES_LATEST = 20.0  # seconds; what the API calls fresh is younger (health_statuses.FRESH_FOR)
_HEALTH_EVERY = 10.0  # seconds between two words that verdicts are as they were; far below FRESH_FOR
_AT_ONCE = 100  # load balancers written down before others get a turn


class Records:
    """One per watch."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._health: dict[UUID, tuple[int, float]] = {}
        self._states: dict[UUID, tuple[int, Mapping[UUID, str]]] = {}
        self._states_due_at = float("-inf")

    async def keep(self, seen: Mapping[LBNode, Seen[LBNodeReport]]) -> None:
        """What the nodes that answer have now."""
        now = self._clock.now()
        for node, each in seen.items():
            if each.report is not None:
                self._keep_health(node.id, each.report, each.revision, now)
        if now < self._states_due_at:
            return
        begun = time.perf_counter()
        for node, each in seen.items():
            if each.report is not None:
                await self._keep_states(node.id, each.report, each.revision, now)
        took = time.perf_counter() - begun
        self._states_due_at = now + min(_STATES_LATEST, max(_STATES_EVERY, _STATES_SHARE * took))

    def _keep_health(self, node_id: UUID, report: LBNodeReport, revision: int, now: float) -> None:
        written, written_at = self._health.get(node_id, (0, float("-inf")))
        if written == revision and now - written_at < _HEALTH_EVERY:
            return
        with self._database.write() as connection:
            if written == revision:
                health_statuses.still(connection, node_id, now)
            else:
                rows = [health for balancer in report.load_balancers for health in balancer.health]
                health_statuses.replace_node(connection, node_id, rows, now)
        self._health[node_id] = revision, now

    async def _keep_states(self, node_id: UUID, report: LBNodeReport, revision: int, now: float) -> None:
        # Taken out while it is being changed: whoever fails half way begins anew.
        written, before = self._states.pop(node_id, (0, None))
        if before is None:
            with self._database.write() as connection:
                node_states.forget_node(connection, node_id)
            before = {}
        kept = before
        if written == revision:
            with self._database.write() as connection:
                node_states.still(connection, node_id, now)
        else:
            kept = await self._write_states(node_id, states_of(report), before, now)
        self._states[node_id] = revision, kept

    async def _write_states(
        self, node_id: UUID, states: Mapping[UUID, BalancerState], before: Mapping[UUID, str], now: float
    ) -> dict[UUID, str]:
        kept: dict[UUID, str] = {}
        left = iter(states.items())
        while some := dict(islice(left, _AT_ONCE)):
            rows = node_states.written(some)
            self._replace(node_id, rows, {each: before[each] for each in rows if each in before}, now)
            kept |= rows
            await asyncio.sleep(0)
        self._replace(node_id, {}, {each: state for each, state in before.items() if each not in kept}, now)
        return kept

    def _replace(self, node_id: UUID, rows: Mapping[UUID, str], before: Mapping[UUID, str], now: float) -> None:
        with self._database.write() as connection:
            node_states.replace_node(connection, node_id, rows, before, now)
