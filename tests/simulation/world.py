"""One history: the machines, the tables, the trace, and the hooks by which rules are checked as things happen."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Set
from ipaddress import ip_address
from random import Random
from uuid import UUID

from bascule.healthchecks.fake import FakeProbe
from bascule.model.configurations import ForwardingRule, Version
from bascule.store import hypervisors, lb_nodes
from bascule.store.database import Database
from tests.simulation.database import Engines
from tests.simulation.machines import HostMachine, LBMachine, Machine
from tests.simulation.profile import Profile
from tests.simulation.rules import Broken, Rules
from tests.simulation.virtual_time import Process

EPOCH = 1_000_000.0  # what the clock says when a history begins


class ProcessClock:
    """Virtual time for one process; a process that stalls wakes late."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        """Virtual seconds since the epoch."""
        return EPOCH + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
        await self._process.thaw()


class World:
    """Everything that one seed makes happen. `over` is done when a rule is broken."""

    def __init__(self, seed: int, engines: Engines, chance: Random, profile: Profile) -> None:
        self.seed, self.chance, self.engines = seed, chance, engines
        self.profile = profile
        self.faulty = True
        self.database_away = False
        self.faults: Counter[str] = Counter()
        self.trace: list[tuple[float, str, str]] = []
        self.steps = 0
        self.probe = FakeProbe()
        self.over: asyncio.Future[Broken] = asyncio.get_running_loop().create_future()
        self._changes = 0
        self.on_machine_death: Callable[[Machine], None] = lambda _machine: None
        with Database(engines.engine).read() as connection:
            nodes, hosts = lb_nodes.list_all(connection), hypervisors.list_all(connection)
        self.nodes = {node.id: LBMachine(self, chance, node, self.probe) for node in nodes}
        self.hosts = {host.id: HostMachine(self, chance, host) for host in hosts}
        self.rules = Rules(engines.raw, self.nodes, self.hosts)
        self.look_at_instances()

    @property
    def machines(self) -> list[Machine]:
        """All of them."""
        return [*self.nodes.values(), *self.hosts.values()]

    def machine(self, node_id: UUID) -> Machine:
        """The machine behind a node."""
        return self.nodes[node_id] if node_id in self.nodes else self.hosts[node_id]

    def now(self) -> float:
        """Virtual seconds since the epoch."""
        return EPOCH + asyncio.get_running_loop().time()

    # What is written down

    def tell(self, who: str, what: str) -> None:
        """One line of the trace."""
        self.trace.append((asyncio.get_running_loop().time(), who, what))

    def happened(self, fault: str) -> None:
        """Count a fault."""
        self.faults[fault] += 1

    def lines(self) -> list[str]:
        """The trace as text."""
        return [f"{when:9.4f} {who:16} {what}" for when, who, what in self.trace]

    def digest(self) -> str:
        """A short text that is the same when, and only when, the same things happened."""
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()[:16]

    def _check(self, rule: Callable[[], None]) -> None:
        self.steps += 1
        try:
            rule()
        except Broken as broken:
            self.broken(broken)

    def broken(self, broken: Broken) -> None:
        """A rule does not hold: the history ends here."""
        if not self.over.done():
            self.tell("RULE BROKEN", str(broken))
            self.over.set_result(broken)

    # What processes do

    def committed(self, process: Process) -> None:
        """A transaction is in the tables."""
        changes = self.engines.raw.total_changes
        if changes != self._changes:
            self._changes = changes
            self._check(lambda: self.rules.committed(self.now()))

    def sent(self, process: Process, load_balancer_id: UUID, version: Version, what: str) -> None:
        """A command leaves an orchestrator."""
        self.tell(process.name, f"{what} of {_short(load_balancer_id)} at {_text(version)}")
        self._check(lambda: self.rules.sent(load_balancer_id, version))

    # What machines do

    def obeyed(self, machine: Machine, load_balancer_id: UUID, version: Version, *, removal: bool) -> None:
        """A command is on a machine's disk."""
        what = "forgets" if removal else "obeys"
        self.tell(machine.name, f"{what} {_short(load_balancer_id)} at {_text(version)}")
        self._check(lambda: self.rules.obeyed(machine, load_balancer_id, version, removal=removal))

    def served(self, machine: LBMachine) -> None:
        """A pass changed what a data plane has."""
        services = ", ".join(f"{key} {len(each.backends)}" for key, each in sorted(machine.data_plane.services.items()))
        self.tell(machine.name, f"serves {services or 'nothing'}")
        self._check(lambda: self.rules.served(machine))

    def announced(self, machine: LBMachine, addresses: Set[object]) -> None:
        """A pass announced other addresses than before."""
        everything = ", ".join(map(str, sorted(machine.announcer.announced)))
        self.tell(machine.name, f"announces {everything or 'nothing'}")
        new = {address for address in machine.announcer.announced if address in addresses}
        self._check(lambda: self.rules.announced(machine, new))

    def unruled(self, machine: HostMachine, rules: Set[ForwardingRule]) -> None:
        """A pass changed rules."""
        self.tell(machine.name, f"has {len(machine.forwarding.rules)} rules, {len(rules)} dropped")
        if rules:
            self._check(lambda: self.rules.unruled(machine, rules))

    def forgot(self, machine: Machine) -> None:
        """A machine came back with an older disk."""
        self.tell(machine.name, "has an older disk")
        self.rules.excuse(machine)

    def died(self, machine: Machine) -> None:
        """An agent's process is gone."""
        self.on_machine_death(machine)

    # What operators do

    def look_at_nodes(self) -> None:
        """Which LB nodes operators have enabled now."""
        for identifier, enabled in self.engines.raw.execute("SELECT id, enabled FROM lb_nodes"):
            node = self.nodes[UUID(identifier)]
            node.enabled = bool(enabled)
            node.was_disabled |= not enabled

    def look_at_instances(self) -> None:
        """Where instances are now."""
        rows = self.engines.raw.execute("SELECT address, hypervisor_id FROM instances")
        self.rules.settle_homes({ip_address(address): UUID(host) for address, host in rows})


def _short(identifier: UUID) -> str:
    return str(identifier)[:8]


def _text(version: Version) -> str:
    return f"{version.epoch}.{version.generation}.{version.step}"
