"""What agents last reported: fetched at most once for everybody who asks at the same time, found by load balancer.

A report is only ever reused when it was begun after what its reader must not miss: after the reader asked (`of_…`), or
after the last command to its node (`current_…`, for readers who conclude nothing but that all is well).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar
from uuid import UUID

from bascule.balancing.hands import Agents
from bascule.clock import Clock
from bascule.model.configurations import ForwardingConfiguration
from bascule.model.errors import BasculeError
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport

N = TypeVar("N", LBNode, Hypervisor)
R = TypeVar("R", LBNodeReport, HypervisorReport)
NEVER = float("-inf")


@dataclass(frozen=True)
class Seen(Generic[R]):
    """One answer of one agent; None when it did not answer. `revision` grows when the answer is not the one before."""

    report: R | None = None
    revision: int = 0

    @cached_property
    def balancers(self) -> Mapping[UUID, BalancerReport]:
        """By load balancer, of an LB node."""
        report: object = self.report
        found: tuple[BalancerReport, ...] = report.load_balancers if isinstance(report, LBNodeReport) else ()
        return {each.configuration.load_balancer_id: each for each in found}

    @cached_property
    def forwarding(self) -> Mapping[UUID, ForwardingConfiguration]:
        """By load balancer, of a hypervisor."""
        report: object = self.report
        found: tuple[ForwardingConfiguration, ...] = (
            report.load_balancers if isinstance(report, HypervisorReport) else ()
        )
        return {each.load_balancer_id: each for each in found}


@dataclass
class _Desk(Generic[R]):
    """One agent: its last answer, when that was asked for, and when the agent was last told something."""

    seen: Seen[R] = field(default_factory=Seen)
    begun_at: float = NEVER
    commands: int = 0
    commands_before: int = -1
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Reports:
    """One for a process, or one for each reader. Times are seconds since the epoch."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents, self._clock = agents, clock
        self._lb_nodes: dict[LBNode, _Desk[LBNodeReport]] = {}
        self._hypervisors: dict[Hypervisor, _Desk[HypervisorReport]] = {}
        self._commands: dict[UUID, int] = {}

    def commanded(self, node_id: UUID) -> None:
        """Say so before and after each command to a node: no earlier report of it is current any more."""
        self._commands[node_id] = self._commands.get(node_id, 0) + 1

    async def of_lb_nodes(self, nodes: Iterable[LBNode]) -> list[Seen[LBNodeReport]]:
        """One per node, in the same order, begun after this call."""
        desks = [(node, self._lb_nodes.setdefault(node, _Desk())) for node in nodes]
        return await asyncio.gather(*(self._ask(*each, self._agents.lb_node_report) for each in desks))

    async def of_hypervisors(self, hypervisors: Iterable[Hypervisor]) -> list[Seen[HypervisorReport]]:
        """One per hypervisor, in the same order, begun after this call."""
        desks = [(host, self._hypervisors.setdefault(host, _Desk())) for host in hypervisors]
        return await asyncio.gather(*(self._ask(*each, self._agents.hypervisor_report) for each in desks))

    async def current_of_lb_nodes(self, nodes: Iterable[LBNode], since: float) -> list[Seen[LBNodeReport]]:
        """The same, or what is known since then and no command of this process has outdated."""
        wanted = tuple(nodes)
        await self.of_lb_nodes(
            node for node in wanted if not self._is_current(node.id, self._lb_nodes.get(node), since)
        )
        return [self._lb_nodes[node].seen for node in wanted]

    async def current_of_hypervisors(
        self, hypervisors: Iterable[Hypervisor], since: float
    ) -> list[Seen[HypervisorReport]]:
        """The same, or what is known since then and no command of this process has outdated."""
        wanted = tuple(hypervisors)
        await self.of_hypervisors(
            host for host in wanted if not self._is_current(host.id, self._hypervisors.get(host), since)
        )
        return [self._hypervisors[host].seen for host in wanted]

    def _is_current(
        self, node_id: UUID, desk: _Desk[LBNodeReport] | _Desk[HypervisorReport] | None, since: float
    ) -> bool:
        if desk is None or desk.begun_at < since:
            return False
        return desk.commands_before == self._commands.get(node_id, 0)

    async def _ask(self, node: N, desk: _Desk[R], fetch: Callable[[N], Awaitable[R]]) -> Seen[R]:
        asked_at, commands = self._clock.now(), self._commands.get(node.id, 0)
        async with desk.lock:
            if desk.begun_at >= asked_at and desk.commands_before == commands:
                return desk.seen
            begun_at, commands = self._clock.now(), self._commands.get(node.id, 0)
            report: R | None
            try:
                report = await fetch(node)
            except BasculeError:
                report = None
            desk.begun_at, desk.commands_before = begun_at, commands
            if desk.seen.revision == 0 or report is not desk.seen.report:
                desk.seen = Seen(report, desk.seen.revision + 1)
            return desk.seen
