"""The hand that breaks things, and stops when the time of trouble is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.simulation.machines import Machine
from tests.simulation.orchestrators import OrchestratorHost
from tests.simulation.profile import Fault
from tests.simulation.world import World


class Troublemaker:
    """Does what the profile says until it is told to stop."""

    def __init__(self, world: World, orchestrators: list[OrchestratorHost]) -> None:
        self._world, self._chance, self._orchestrators = world, world.chance, orchestrators
        world.on_machine_death = self._raise_again

    async def live(self) -> None:
        """One fault after the other."""
        faults = self._world.profile.faults
        while faults:
            await asyncio.sleep(self._chance.expovariate(1 / self._world.profile.pause))
            fault = self._chance.choice(faults)
            self._world.happened(fault.value)
            self._cause(fault)

    def stop(self) -> None:
        """From now on everything works."""
        world = self._world
        world.faulty = world.database_away = False
        world.probe.down.clear()
        world.probe.silent.clear()
        for orchestrator in self._orchestrators:
            orchestrator.process.doom, orchestrator.process.stalled_until = None, 0.0
            orchestrator.boot()
        for machine in world.machines:
            machine.cut_off = machine.kernel_refuses = machine.disk.refuses = False
            if machine.process is not None:
                machine.process.doom = None
            machine.boot()
        world.tell("faults", "are over")

    def _cause(self, fault: Fault) -> None:
        match fault:
            case Fault.ORCHESTRATOR_DIES:
                self._chance.choice(self._orchestrators).process.doom = self._chance.randint(1, 60)
            case Fault.ORCHESTRATOR_STALLS:
                self._stall()
            case Fault.DATABASE_AWAY:
                self._for_a_while("database", "is away", "database_away", self._world)
            case Fault.INSTANCE_FAILS:
                self._fail_instance()
            case Fault.LB_NODE_GONE:
                self._lose(self._chance.choice(list(self._world.nodes.values())))
            case _:
                self._cause_on(self._chance.choice(self._world.machines), fault)

    def _cause_on(self, machine: Machine, fault: Fault) -> None:
        match fault:
            case Fault.AGENT_DIES:
                if machine.process is not None:
                    machine.process.doom = self._chance.randint(1, 8)
            case Fault.MACHINE_RESTARTS:
                self._restart(machine)
            case Fault.OLD_DISK:
                self._restart(machine)
                machine.age_disk(empty=False)
            case Fault.EMPTY_DISK:
                self._restart(machine)
                machine.age_disk(empty=True)
            case Fault.CUT_OFF:
                self._for_a_while(machine.name, "is cut off", "cut_off", machine)
            case Fault.KERNEL_REFUSES:
                self._for_a_while(machine.name, "has a kernel that refuses", "kernel_refuses", machine)
            case _:
                self._for_a_while(machine.name, "has a full disk", "refuses", machine.disk)

    def _lose(self, node: Machine) -> None:
        """Longer than the grace time; half of them forward as ever, and nobody can know that."""
        self._world.tell(node.name, "is gone")
        node.cut_off = True
        if self._chance.random() < 0.5:
            self._restart(node)
        self._later(lambda: setattr(node, "cut_off", False), least=6.0, most=16.0)

    def _restart(self, machine: Machine) -> None:
        self._world.tell(machine.name, "is switched off")
        running = machine.process is not None and machine.process.alive
        machine.power_off()
        if not running:
            self._raise_again(machine)

    def _raise_again(self, machine: Machine) -> None:
        delay = self._chance.uniform(0.1, 8.0) if self._world.faulty else 0.1
        asyncio.get_running_loop().call_later(delay, machine.boot)

    def _stall(self) -> None:
        process = self._chance.choice(self._orchestrators).process
        seconds = self._chance.uniform(1.0, 12.0)
        process.stalled_until = asyncio.get_running_loop().time() + seconds
        self._world.tell(process.name, f"stalls for {seconds:.1f} s")

    def _fail_instance(self) -> None:
        address = self._chance.choice(sorted(self._world.rules.homes))
        self._world.tell(str(address), "fails")
        failing = self._world.probe.silent if self._chance.random() < 0.5 else self._world.probe.down
        failing.add(address)
        self._later(lambda: failing.discard(address))

    def _for_a_while(self, who: str, what: str, attribute: str, thing: object) -> None:
        self._world.tell(who, what)
        setattr(thing, attribute, True)
        self._later(lambda: setattr(thing, attribute, False))

    def _later(self, end: Callable[[], None], *, least: float = 0.3, most: float = 10.0) -> None:
        asyncio.get_running_loop().call_later(self._chance.uniform(least, most), end)
