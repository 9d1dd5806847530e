"""Simulated machines: a disk and a kernel that outlive the agent's process, and the real agent on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from random import Random
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from bascule.agents.fencing import DesiredState
from bascule.agents.hypervisor.agent import Enforcement as ForwardingEnforcement
from bascule.agents.hypervisor.agent import HypervisorAgent
from bascule.agents.lb_node.agent import LBAgent
from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.state_file import StateFile
from bascule.announcers.fake import FakeAnnouncer
from bascule.dataplanes.fake import FakeDataPlane
from bascule.forwarding.fake import FakeForwarding
from bascule.healthchecks.fake import FakeProbe
from bascule.healthchecks.runner import HealthCheckRunner
from bascule.model.addresses import IPAddress
from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, ForwardingRule, Version
from bascule.model.errors import BasculeError, SystemFailure, Unavailable
from bascule.model.health_checks import HealthCheckMode
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.strategies import Protocol as Transport
from bascule.model.virtual_services import VirtualService
from tests.simulation.virtual_time import Killed, Process

ENFORCE_INTERVAL = 4.0  # seconds
SNAPSHOTS_KEPT = 8
_INSTANCES = tuple(IPv4Network(f"10.0.{number}.0/24") for number in (1, 2, 9))
S = TypeVar("S")
R = TypeVar("R")
Match: TypeAlias = tuple[IPAddress, Transport, int, IPAddress]
"""What a rule matches: address, protocol, port, and the instance that packets are tunnelled to."""


class Overseer(Protocol):
    """Who is told of everything that machines do, and checks it."""

    def tell(self, who: str, what: str) -> None:
        """One line of the trace."""

    def obeyed(self, machine: Machine, load_balancer_id: UUID, version: Version, *, removal: bool) -> None:
        """A command is on the machine's disk."""

    def served(self, machine: LBMachine) -> None:
        """A pass changed what the data plane has."""

    def announced(self, machine: LBMachine, addresses: Set[IPAddress]) -> None:
        """A pass announced addresses that were not."""

    def unruled(self, machine: HostMachine, rules: Set[ForwardingRule]) -> None:
        """A pass removed rules."""

    def forgot(self, machine: Machine) -> None:
        """The machine came back with a disk that is older than what it had obeyed."""

    def died(self, machine: Machine) -> None:
        """Its agent's process is gone."""

    def now(self) -> float:
        """Virtual seconds since the epoch."""


@dataclass
class Disk:
    """Files by name; `history` are earlier states of the whole disk, the newest last."""

    files: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False

    def write(self, name: str, content: object) -> None:
        """Replace a file."""
        self.history = [*self.history[-SNAPSHOTS_KEPT:], dict(self.files)]
        self.files[name] = content


class SimulatedFile(StateFile[S]):
    """A state file on a simulated disk. The agent may die just before or just after a write."""

    def __init__(self, machine: Machine, process: Process, name: str, empty: Callable[[], S]) -> None:
        self._machine, self._process, self._name, self._none = machine, process, name, empty

    def load(self) -> tuple[S, str | None]:
        """What was written last."""
        found: S = self._machine.disk.files.get(self._name) or self._none()
        return found, None

    def save(self, state: S) -> None:
        """Write, or refuse."""
        self._process.step()
        if self._machine.disk.refuses:
            raise SystemFailure("The disk is full: delete something.")
        before = self.load()[0]
        self._machine.disk.write(self._name, state)
        if isinstance(before, DesiredState) and isinstance(state, DesiredState):
            self._tell(before, state)
        self._process.step()

    def _tell(self, before: DesiredState[Any], after: DesiredState[Any]) -> None:
        for each in after.configurations:
            if each not in before.configurations:
                self._machine.overseer.obeyed(self._machine, each.load_balancer_id, each.version, removal=False)
        for grave in after.tombstones:
            if grave not in before.tombstones:
                self._machine.overseer.obeyed(self._machine, grave.load_balancer_id, grave.version, removal=True)


class Machine:
    """What both kinds of machines have in common. `known` are the newest commands its disk ever took."""

    name: str

    def __init__(self, overseer: Overseer, chance: Random) -> None:
        self.overseer, self.chance = overseer, chance
        self.disk = Disk()
        self.process: Process | None = None
        self.cut_off = False
        self.kernel_refuses = False
        self.known: dict[UUID, tuple[Version, bool]] = {}
        # Load balancers that this machine may be wrong about, by a fault, until a command after this epoch.
        self.excused: dict[UUID, int] = {}

    @property
    def answers(self) -> bool:
        """Whether its agent can be reached and has started."""
        return self.agent is not None and not self.cut_off

    @property
    def agent(self) -> LBAgent | HypervisorAgent | None:
        """The agent, once it has started."""
        raise NotImplementedError

    async def _life(self, process: Process) -> None:
        raise NotImplementedError

    def boot(self) -> None:
        """Start the agent, from disk alone."""
        if self.process is not None and self.process.alive:
            return
        self.process = Process(self.name)
        self.process.on_death = self._died
        self.process.start(self._life(self.process))

    def _died(self) -> None:
        self.overseer.tell(self.name, "its agent dies")
        self.overseer.died(self)

    def power_off(self) -> None:
        """The kernel's memory is gone, the disk stays."""
        if self.process is not None:
            self.process.kill()
        self.forget_kernel()

    def forget_kernel(self) -> None:
        """Nothing is served, announced or translated any more."""
        raise NotImplementedError

    def age_disk(self, *, empty: bool) -> None:
        """Put an earlier disk, or a new one, in place of this one."""
        history = self.disk.history
        self.disk.files = {} if empty or not history else dict(self.chance.choice(history))
        self.known.clear()
        self.overseer.forgot(self)

    def driver_step(self, process: Process) -> None:
        """Before each call of a driver: die or fail here."""
        process.step()
        if self.kernel_refuses:
            raise SystemFailure(f"The kernel of {self.name} refuses.")

    def receive(
        self, command: Callable[[Any], Awaitable[R]], answer: asyncio.Future[R], answer_after: float | None
    ) -> None:
        """A message arrives. `answer_after` is seconds the answer travels; None: it is lost."""
        if not self.answers or self.process is None:
            _settle(answer, Unavailable(f"{self.name} does not answer: is its agent running?"))
            return
        self.process.start(self._handle(command, answer, answer_after))

    async def _handle(
        self, command: Callable[[Any], Awaitable[R]], answer: asyncio.Future[R], answer_after: float | None
    ) -> None:
        outcome: R | BasculeError
        try:
            outcome = await command(self.agent)
        except BasculeError as error:
            outcome = error
        except (Killed, asyncio.CancelledError):
            _settle(answer, Unavailable(f"{self.name} closed the connection."))
            raise
        if answer_after is not None:
            asyncio.get_running_loop().call_later(answer_after, _settle, answer, outcome)


def _settle(answer: asyncio.Future[Any], outcome: object) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


class SimulatedDataPlane(FakeDataPlane):
    """The kernel of an LB node: it outlives the process, and tells what changes."""

    def __init__(self, machine: LBMachine, process: Process) -> None:
        super().__init__()
        self._machine, self._process = machine, process
        # Every other instance is empty as soon as it drains; nobody can count the others' connections.
        self.remaining = {network[number]: 0 for network in _INSTANCES for number in range(1, 256, 2)}

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """Hold exactly these, unless the process dies first."""
        self._machine.driver_step(self._process)
        done = super().enforce(addresses, services)
        if done:
            self._machine.overseer.served(self._machine)
        return done


class SimulatedAnnouncer(FakeAnnouncer):
    """The routers' view of an LB node."""

    def __init__(self, machine: LBMachine, process: Process) -> None:
        super().__init__()
        self._machine, self._process = machine, process

    def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Announce exactly these, unless the process dies first."""
        self._machine.driver_step(self._process)
        before = self.announced
        done = super().enforce(addresses)
        if done:
            self._machine.overseer.announced(self._machine, self.announced - before)
        return done


class LBMachine(Machine):
    """An LB node with the real LB agent."""

    def __init__(self, overseer: Overseer, chance: Random, node: LBNode, probe: FakeProbe) -> None:
        super().__init__(overseer, chance)
        self.node, self.name, self._probe = node, node.name, probe
        self.enabled = True
        self.was_disabled = False
        # The load balancers that its disk tells it to announce, as the rules saw it last.
        self.told: frozenset[UUID] = frozenset()
        # Where its kernel sends packets, as the rules saw it last.
        self.traffic: frozenset[Match] = frozenset()
        self._agent: LBAgent | None = None
        self._new_drivers(Process(self.name))

    @property
    def agent(self) -> LBAgent | None:
        """The agent, once it has started."""
        return self._agent if self.process is not None and self.process.alive else None

    def _new_drivers(self, process: Process) -> None:
        self.data_plane = SimulatedDataPlane(self, process)
        self.announcer = SimulatedAnnouncer(self, process)

    def forget_kernel(self) -> None:
        """Nothing is served or announced any more."""
        self._new_drivers(Process(self.name))
        self.traffic = frozenset()

    @property
    def orders(self) -> DesiredState[BalancerConfiguration]:
        """What it was told, as its disk has it."""
        return self.disk.files.get("orders") or DesiredState()

    def excuses(self, load_balancer_id: UUID | None) -> bool:
        """Whether a fault explains what it does for a load balancer."""
        return load_balancer_id is None or load_balancer_id in self.excused

    def holder(self, address: IPAddress) -> UUID | None:
        """The load balancer it carries at an address."""
        carried = (each.load_balancer_id for each in self.orders.configurations if each.address == address)
        return next(carried, None)

    async def _life(self, process: Process) -> None:
        self._agent = None
        kernel, routers = self.data_plane, self.announcer
        self._new_drivers(process)
        self.data_plane.addresses, self.data_plane.services = kernel.addresses, kernel.services
        self.announcer.announced = routers.announced
        checks = HealthCheckRunner({HealthCheckMode.TCP: self._probe}, random=Random(self.chance.random()))
        agent = LBAgent(
            node=self.name,
            orders=SimulatedFile[DesiredState[BalancerConfiguration]](self, process, "orders", DesiredState),
            verdicts=SimulatedFile(self, process, "verdicts", tuple),
            health_checks=checks,
            enforcement=Enforcement(self.data_plane, self.announcer),
            interval=ENFORCE_INTERVAL,
            now=self.overseer.now,
        )
        await agent.start()
        self._agent = agent
        self.overseer.tell(self.name, "its agent has started")


class SimulatedForwarding(FakeForwarding):
    """The kernel of a hypervisor."""

    def __init__(self, machine: HostMachine, process: Process) -> None:
        super().__init__()
        self._machine, self._process = machine, process

    def enforce(self, rules: Set[ForwardingRule]) -> tuple[str, ...]:
        """Hold exactly these, unless the process dies first."""
        self._machine.driver_step(self._process)
        before = self.rules
        done = super().enforce(rules)
        self._machine.restored = True
        if done:
            self._machine.overseer.unruled(self._machine, before - self.rules)
        return done


class HostMachine(Machine):
    """A hypervisor with the real hypervisor agent. Not `restored`: it was switched off and has no rules yet."""

    def __init__(self, overseer: Overseer, chance: Random, node: Hypervisor) -> None:
        super().__init__(overseer, chance)
        self.node, self.name = node, node.name
        self.restored = True
        self._agent: HypervisorAgent | None = None
        self.forwarding = SimulatedForwarding(self, Process(self.name))

    @property
    def agent(self) -> HypervisorAgent | None:
        """The agent, once it has started."""
        return self._agent if self.process is not None and self.process.alive else None

    def forget_kernel(self) -> None:
        """No rule is in force any more."""
        self.forwarding = SimulatedForwarding(self, Process(self.name))
        self.restored = False

    @property
    def orders(self) -> DesiredState[ForwardingConfiguration]:
        """What it was told, as its disk has it."""
        return self.disk.files.get("orders") or DesiredState()

    async def _life(self, process: Process) -> None:
        self._agent = None
        kernel = self.forwarding
        self.forwarding = SimulatedForwarding(self, process)
        self.forwarding.rules = kernel.rules
        agent = HypervisorAgent(
            node=self.name,
            orders=SimulatedFile[DesiredState[ForwardingConfiguration]](self, process, "orders", DesiredState),
            enforcement=ForwardingEnforcement(self.forwarding),
            interval=ENFORCE_INTERVAL,
            now=self.overseer.now,
        )
        await agent.start()
        self._agent = agent
        self.overseer.tell(self.name, "its agent has started")
