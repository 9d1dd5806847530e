"""Agents that have every command noted, so that no report from before it is taken for current."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from bascule.balancing.hands import Agents
from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, Version
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport


class NotedAgents:
    """Implements `bascule.balancing.hands.Agents` over others; `note` gets the node before and after each command."""

    def __init__(self, agents: Agents, note: Callable[[UUID], None]) -> None:
        self._agents, self._note = agents, note

    async def lb_node_report(self, node: LBNode) -> LBNodeReport:
        """As it is."""
        return await self._agents.lb_node_report(node)

    async def put_balancer(self, node: LBNode, configuration: BalancerConfiguration) -> BalancerReport:
        """Noted."""
        with self._noted(node.id):
            return await self._agents.put_balancer(node, configuration)

    async def delete_balancer(self, node: LBNode, load_balancer_id: UUID, version: Version) -> None:
        """Noted."""
        with self._noted(node.id):
            await self._agents.delete_balancer(node, load_balancer_id, version)

    async def hypervisor_report(self, hypervisor: Hypervisor) -> HypervisorReport:
        """As it is."""
        return await self._agents.hypervisor_report(hypervisor)

    async def put_forwarding(self, hypervisor: Hypervisor, configuration: ForwardingConfiguration) -> None:
        """Noted."""
        with self._noted(hypervisor.id):
            await self._agents.put_forwarding(hypervisor, configuration)

    async def delete_forwarding(self, hypervisor: Hypervisor, load_balancer_id: UUID, version: Version) -> None:
        """Noted."""
        with self._noted(hypervisor.id):
            await self._agents.delete_forwarding(hypervisor, load_balancer_id, version)

    @contextmanager
    def _noted(self, node_id: UUID) -> Iterator[None]:
        self._note(node_id)
        try:
            yield
        finally:
            # It failed or was cut off, and may have been obeyed all the same.
            self._note(node_id)
