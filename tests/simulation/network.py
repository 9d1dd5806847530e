"""Messages between orchestrators and agents: lost, doubled, late and out of order, as the seed wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol, TypeVar
from uuid import UUID

from bascule.balancing.agent_client import COMMAND_TIMEOUT_SECONDS, REPORT_TIMEOUT_SECONDS
from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, Version
from bascule.model.errors import Unavailable
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport
from tests.simulation.machines import Machine
from tests.simulation.profile import Profile
from tests.simulation.virtual_time import Process

R = TypeVar("R")


class Wire(Protocol):
    """What the network needs to know of the world."""

    faulty: bool
    profile: Profile
    chance: Random

    def machine(self, node_id: UUID) -> Machine:
        """The machine behind a node."""

    def happened(self, fault: str) -> None:
        """Count a fault."""

    def tell(self, who: str, what: str) -> None:
        """One line of the trace."""

    def sent(self, process: Process, load_balancer_id: UUID, version: Version, what: str) -> None:
        """A command leaves an orchestrator."""


class SimulatedAgents:
    """Implements `bascule.balancing.hands.Agents` for one orchestrator process."""

    def __init__(self, wire: Wire, process: Process) -> None:
        self._wire, self._process = wire, process

    async def lb_node_report(self, node: LBNode) -> LBNodeReport:
        """GET."""
        report: LBNodeReport = await self._ask(node.id)
        return report

    async def hypervisor_report(self, hypervisor: Hypervisor) -> HypervisorReport:
        """GET."""
        report: HypervisorReport = await self._ask(hypervisor.id)
        return report

    async def put_balancer(self, node: LBNode, configuration: BalancerConfiguration) -> BalancerReport:
        """PUT."""
        what = f"{'announce' if configuration.announced else 'serve'} {configuration.address}"
        self._say(node.name, what, configuration.load_balancer_id, configuration.version)
        return await self._call(node.id, lambda agent: agent.put(configuration), COMMAND_TIMEOUT_SECONDS)

    async def delete_balancer(self, node: LBNode, load_balancer_id: UUID, version: Version) -> None:
        """DELETE."""
        await self._delete(node, load_balancer_id, version)

    async def put_forwarding(self, hypervisor: Hypervisor, configuration: ForwardingConfiguration) -> None:
        """PUT."""
        what = f"{len(configuration.rules)} rules"
        self._say(hypervisor.name, what, configuration.load_balancer_id, configuration.version)
        await self._call(hypervisor.id, lambda agent: agent.put(configuration), COMMAND_TIMEOUT_SECONDS)

    async def delete_forwarding(self, hypervisor: Hypervisor, load_balancer_id: UUID, version: Version) -> None:
        """DELETE."""
        await self._delete(hypervisor, load_balancer_id, version)

    async def _delete(self, node: LBNode | Hypervisor, load_balancer_id: UUID, version: Version) -> None:
        self._say(node.name, "delete", load_balancer_id, version)
        await self._call(node.id, lambda agent: agent.delete(load_balancer_id, version), COMMAND_TIMEOUT_SECONDS)

    def _say(self, node: str, what: str, load_balancer_id: UUID, version: Version) -> None:
        self._process.step()
        self._wire.sent(self._process, load_balancer_id, version, f"tells {node}: {what}")

    async def _ask(self, node_id: UUID) -> Any:
        return await self._call(node_id, _report, REPORT_TIMEOUT_SECONDS)

    async def _call(self, node_id: UUID, command: Callable[[Any], Awaitable[R]], limit: float) -> R:
        self._process.check()
        loop, machine = asyncio.get_running_loop(), self._wire.machine(node_id)
        answer: asyncio.Future[R] = loop.create_future()
        silence = Unavailable(f"{machine.name} does not answer within {limit:g} s: is its agent running?")
        timer = loop.call_later(limit, _give_up, answer, silence)
        for arrival, answer_after in self._fates():
            loop.call_later(arrival, machine.receive, command, answer, answer_after)
        try:
            return await answer
        finally:
            timer.cancel()
            await self._process.thaw()

    def _fates(self) -> list[tuple[float, float | None]]:
        """For each copy of the message: when it arrives, and how long its answer travels (None: it is lost)."""
        chance, profile = self._wire.chance, self._wire.profile
        travel, back = chance.uniform(0.0005, 0.01), chance.uniform(0.0005, 0.01)
        if not self._wire.faulty:
            return [(travel, back)]
        fates: list[tuple[float, float | None]] = [(travel, back)]
        if self._hits(profile.late, "message late"):
            fates = [(chance.uniform(0.1, 14.0), back)]
        if self._hits(profile.lost_answer, "answer lost"):
            fates = [(fates[0][0], None)]
        if self._hits(profile.doubled, "message doubled"):
            fates.append((travel + chance.expovariate(1.0), None))
        if self._hits(profile.lost_request, "message lost"):
            fates.pop(0)
        return fates

    def _hits(self, probability: float, fault: str) -> bool:
        if not probability or self._wire.chance.random() >= probability:
            return False
        self._wire.happened(fault)
        return True


def _give_up(answer: asyncio.Future[Any], error: Unavailable) -> None:
    if not answer.done():
        answer.set_exception(error)


async def _report(agent: Any) -> Any:
    return agent.report()
