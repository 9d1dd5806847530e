"""Agents in memory: a data centre without machines, for tests and simulation.

They fence and they keep order like the real ones, and they can be cut off, forget, or die at a chosen call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, Version
from bascule.model.errors import StaleCommand, Unavailable
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport, DataPlaneReport, HypervisorReport, LBNodeReport


@dataclass
class FakeNode:
    """One machine: what it carries, the newest version it obeyed for each load balancer, whether it answers."""

    balancers: dict[UUID, BalancerConfiguration] = field(default_factory=dict)
    forwarding: dict[UUID, ForwardingConfiguration] = field(default_factory=dict)
    versions: dict[UUID, Version] = field(default_factory=dict)
    removed: dict[UUID, Version] = field(default_factory=dict)
    reachable: bool = True
    ready: bool = True
    started_at: float = 0.0
    data_plane_name: str = ""
    data_plane: DataPlaneReport = field(default_factory=DataPlaneReport)
    problems: tuple[str, ...] = ()
    enforced: bool = True

    # The last report and what it was made of.
    told: tuple[object, LBNodeReport | HypervisorReport] | None = field(default=None, repr=False)

    def obey(self, name: str, load_balancer_id: UUID, version: Version, *, removes: bool = False) -> None:
        """Raises StaleCommand for what is older than the newest command, or than a removal or equal to it."""
        newest = self.versions.get(load_balancer_id, version)
        if version < newest or (not removes and version == self.removed.get(load_balancer_id)):
            raise StaleCommand(f"{name} obeys {newest} already: this worker lost its lease, stop it.")
        self.versions[load_balancer_id] = version
        if removes:
            self.removed[load_balancer_id] = version


class FakeAgents:
    """Implements `bascule.balancing.hands.Agents`. `before` gets every call's name before it, and may raise."""

    def __init__(self, before: Callable[[str], None] = lambda _call: None) -> None:
        self.before = before
        self.after: Callable[[str], None] = lambda _call: None
        self._nodes: dict[UUID, FakeNode] = {}

    def node(self, node_id: UUID) -> FakeNode:
        """The machine behind an agent."""
        return self._nodes.setdefault(node_id, FakeNode())

    async def lb_node_report(self, node: LBNode) -> LBNodeReport:
        """All of it; the same one as before while nothing changed."""
        machine = self._answering(node, "report")
        carried = tuple(machine.balancers.values())
        kept = (machine.started_at, machine.data_plane_name, machine.data_plane, machine.ready, machine.problems)
        made_of = (node.name, *kept, carried)
        if machine.told is None or machine.told[0] != made_of:
            report = LBNodeReport(
                node=node.name,
                started_at=machine.started_at,
                data_plane_name=machine.data_plane_name,
                data_plane=machine.data_plane,
                load_balancers=tuple(_observed(machine, found) for found in carried),
                problems=machine.problems,
            )
            machine.told = made_of, report
        assert isinstance(machine.told[1], LBNodeReport)
        return machine.told[1]

    async def put_balancer(self, node: LBNode, configuration: BalancerConfiguration) -> BalancerReport:
        """Store and obey."""
        machine = self._answering(node, "put_balancer")
        machine.obey(node.name, configuration.load_balancer_id, configuration.version)
        machine.balancers[configuration.load_balancer_id] = configuration
        self.after(f"put_balancer {node.name}")
        return replace(_observed(machine, configuration), problems=machine.problems)

    async def delete_balancer(self, node: LBNode, load_balancer_id: UUID, version: Version) -> None:
        """Forget."""
        machine = self._answering(node, "delete_balancer")
        machine.obey(node.name, load_balancer_id, version, removes=True)
        machine.balancers.pop(load_balancer_id, None)
        self.after(f"delete_balancer {node.name}")

    async def hypervisor_report(self, hypervisor: Hypervisor) -> HypervisorReport:
        """All of it; the same one as before while nothing changed."""
        machine = self._answering(hypervisor, "report")
        carried = tuple(machine.forwarding.values())
        made_of = (hypervisor.name, machine.started_at, machine.enforced, carried)
        if machine.told is None or machine.told[0] != made_of:
            report = HypervisorReport(
                node=hypervisor.name,
                started_at=machine.started_at,
                load_balancers=carried,
                enforced=machine.enforced,
            )
            machine.told = made_of, report
        assert isinstance(machine.told[1], HypervisorReport)
        return machine.told[1]

    async def put_forwarding(self, hypervisor: Hypervisor, configuration: ForwardingConfiguration) -> None:
        """Store and obey."""
        machine = self._answering(hypervisor, "put_forwarding")
        machine.obey(hypervisor.name, configuration.load_balancer_id, configuration.version)
        machine.enforced = True
        machine.forwarding[configuration.load_balancer_id] = configuration
        self.after(f"put_forwarding {hypervisor.name}")

    async def delete_forwarding(self, hypervisor: Hypervisor, load_balancer_id: UUID, version: Version) -> None:
        """Forget."""
        machine = self._answering(hypervisor, "delete_forwarding")
        machine.obey(hypervisor.name, load_balancer_id, version, removes=True)
        machine.forwarding.pop(load_balancer_id, None)
        self.after(f"delete_forwarding {hypervisor.name}")

    def _answering(self, node: LBNode | Hypervisor, call: str) -> FakeNode:
        self.before(f"{call} {node.name}")
        machine = self.node(node.id)
        if not machine.reachable:
            raise Unavailable(f"{node.name} does not answer: is its agent running?")
        return machine


def _observed(machine: FakeNode, configuration: BalancerConfiguration) -> BalancerReport:
    announced = configuration.announced and machine.ready
    return BalancerReport(configuration=configuration, ready=machine.ready, announced=announced)
