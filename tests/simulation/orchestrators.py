"""Orchestrator processes: real workers and a real watch, which come, die and come again."""

from __future__ import annotations

import asyncio
from random import Random

from bascule.balancing.missed import Missed
from bascule.balancing.patience import Patience
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.balancing.reports import Reports
from bascule.balancing.silences import Silences
from bascule.balancing.watch import Watch
from bascule.orchestration.orchestrator import Orchestrator
from bascule.orchestration.queue import Queue
from bascule.orchestration.retry import RetryPolicy
from bascule.store.tables import orchestration
from tests.simulation.database import SimulatedDatabase
from tests.simulation.network import SimulatedAgents
from tests.simulation.rules import Broken
from tests.simulation.virtual_time import Killed, Process
from tests.simulation.world import ProcessClock, World

LEASE = 5.0  # seconds
SWEEP = 15.0
PATIENCE = Patience(after=2.0, share=0.34)  # shorter than most silences; one of three LB nodes at once
POLICY = RetryPolicy(first=0.5, longest=4.0, escalate_after=5)


class OrchestratorHost:
    """A place where orchestrator processes run, one after the other, mostly under the same name."""

    def __init__(self, world: World, name: str, workers: int) -> None:
        self._world, self._name, self._workers = world, name, workers
        self.process = Process(name)
        self.process.alive = False
        self._births = 0

    def boot(self) -> None:
        """Start a process, unless one runs."""
        if self.process.alive:
            return
        world, chance = self._world, self._world.chance
        self._births += 1
        name = self._name if chance.random() < 0.7 else f"{self._name}-{self._births}"
        self.process = process = Process(name)
        process.on_death = self._died
        database, clock = SimulatedDatabase(world.engines, process, world), ProcessClock(process)
        agents = SimulatedAgents(world, process)
        reports, missed = Reports(agents, clock), Missed()
        reconciler = LoadBalancerReconciler(
            database=database,
            agents=agents,
            clock=clock,
            queue=Queue(orchestration),
            reports=reports,
            missed=missed,
        )
        orchestrator = Orchestrator(
            name=name,
            reconcilers=[reconciler],
            database=database,
            tables=orchestration,
            workers=self._workers,
            policy=POLICY,
            lease=LEASE,
            clock=clock,
            chance=Random(chance.random()),
            looks={reconciler.kind: reconciler.settled},
            idle=1.4,
        )
        watch = Watch(
            database=database,
            agents=agents,
            clock=clock,
            interval=4.0,
            sweep=SWEEP,
            reports=reports,
            missed=missed,
            silences=Silences(database=database, clock=clock, patience=PATIENCE),
        )
        for run in (*(worker.run() for worker in orchestrator.workers), watch.run()):
            process.start(run).add_done_callback(lambda task: self._ended(process, task))
        world.tell(name, "starts")

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if process.alive and not isinstance(error, Killed):
            self._world.broken(Broken("processes live", f"a task of {self._name} ended by itself with {error!r}"))

    def _died(self) -> None:
        self._world.tell(self.process.name, "dies")
        self._world.happened("orchestrator died")
        world = self._world
        delay = world.chance.uniform(0.1, 8.0) if world.faulty else 0.1
        asyncio.get_running_loop().call_later(delay, self.boot)
