"""Compare every load balancer with its nodes once per period, and ask for a reconciliation only where they differ.

What is as it should be costs no lease, no transaction that writes and no question to an agent: rows are read for many
load balancers at once, and the reports are those that the watch has just taken.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from uuid import UUID

from bascule.balancing import expectation
from bascule.balancing.comparison import differing
from bascule.balancing.expectation import Fleet
from bascule.balancing.reports import Reports
from bascule.clock import Clock
from bascule.model.nodes import Hypervisor, LBNode
from bascule.orchestration.queue import Priority
from bascule.store import changes, load_balancers
from bascule.store.database import Database

AT_ONCE = 100  # load balancers whose rows are read together; nobody else runs in this process meanwhile


class Sweep:
    """One per watch. `period` is in seconds; the work is spread over it."""

    def __init__(self, *, database: Database, reports: Reports, clock: Clock, period: float) -> None:
        self._database, self._reports, self._clock, self._period = database, reports, clock, period
        self._begun_at = float("-inf")
        self._size = 0
        self._left: deque[UUID] = deque()

    async def look(
        self, nodes: Sequence[LBNode], hosts: Sequence[Hypervisor], *, since: float, everything: bool = False
    ) -> None:
        """Compare those whose turn has come, or all at once. Reports begun at `since` or later will do."""
        due = self._due(everything)
        priority = Priority.EVENT if everything else Priority.PERIODIC
        try:
            while due:
                await self._compare(due[:AT_ONCE], nodes, hosts, since, priority)
                del due[:AT_ONCE]
                await asyncio.sleep(0)
        finally:
            self._left.extendleft(reversed(due))  # whoever was not looked at is still to be

    def _due(self, everything: bool) -> list[UUID]:
        now = self._clock.now()
        if everything or (not self._left and now - self._begun_at >= self._period):
            with self._database.read() as connection:
                self._left = deque(load_balancers.list_ids(connection))
            self._begun_at, self._size = now, len(self._left)
        # A little ahead of time, so that the last one is done before the next turn.
        share = 1.0 if everything else min(1.0, (now - self._begun_at) / self._period + 0.01)
        done = self._size - len(self._left)
        return [self._left.popleft() for _ in range(max(0, math.ceil(share * self._size) - done))]

    async def _compare(
        self,
        load_balancer_ids: Sequence[UUID],
        nodes: Sequence[LBNode],
        hosts: Sequence[Hypervisor],
        since: float,
        priority: Priority,
    ) -> None:
        node_reports = await self._reports.current_of_lb_nodes(nodes, since)
        host_reports = await self._reports.current_of_hypervisors(hosts, since)
        fleet: Fleet = tuple(zip(nodes, node_reports, strict=True)), tuple(zip(hosts, host_reports, strict=True))
        # From here to the verdict nobody else in this process gets a turn: the reports stay current.
        with self._database.read() as connection:
            found = expectation.read(connection, load_balancer_ids)
            in_hand = changes.in_hand(connection, load_balancer_ids)
        doubts = dict(differing(found, fleet, [each for each in load_balancer_ids if each not in in_hand]))
        if doubts:
            ask(self._database, doubts, priority=priority, now=self._clock.now())


def ask(database: Database, doubts: Mapping[UUID, str], *, priority: Priority, now: float) -> None:
    """Ask for the reconciliation of each, with its reason."""
    with database.write() as connection:
        for load_balancer_id, reason in sorted(doubts.items()):
            changes.request(connection, [load_balancer_id], priority=priority, reason=reason, now=now)
