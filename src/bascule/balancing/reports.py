"""The reports of all agents, fetched at most once for everybody who asks at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from bascule.balancing.hands import Agents
from bascule.model.errors import BasculeError
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.orchestration.clock import Clock

N = TypeVar("N", LBNode, Hypervisor)
R = TypeVar("R")


class Reports:
    """Answers None for an agent that does not answer. A report is reused by those who asked before it was taken."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents, self._clock = agents, clock
        self._taken: dict[Hashable, tuple[float, object]] = {}
        self._locks: dict[Hashable, asyncio.Lock] = {}

    async def of_lb_nodes(self, nodes: tuple[LBNode, ...]) -> list[LBNodeReport | None]:
        """One per node, in the same order."""
        return await asyncio.gather(*(self._ask(node, self._agents.lb_node_report) for node in nodes))

    async def of_hypervisors(self, hypervisors: tuple[Hypervisor, ...]) -> list[HypervisorReport | None]:
        """One per hypervisor, in the same order."""
        return await asyncio.gather(*(self._ask(host, self._agents.hypervisor_report) for host in hypervisors))

    async def _ask(self, node: N, fetch: Callable[[N], Awaitable[R]]) -> R | None:
        asked_at = self._clock.now()
        async with self._locks.setdefault(node, asyncio.Lock()):
            taken_at, report = self._taken.get(node, (float("-inf"), None))
            if taken_at >= asked_at:
                return report  # type: ignore[return-value]  # what was fetched for this node before
            begun_at = self._clock.now()
            try:
                fresh: R | None = await fetch(node)
            except BasculeError:
                fresh = None
            self._taken[node] = (begun_at, fresh)
            return fresh
