"""One seed, from the first request to calm: faults, then peace, then everything must be as users asked."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random

from tests.simulation.chance import quiet, seeded
from tests.simulation.database import Engines
from tests.simulation.faults import Troublemaker
from tests.simulation.orchestrators import OrchestratorHost
from tests.simulation.profile import Profile, draw
from tests.simulation.rules import Broken
from tests.simulation.settled import lacking
from tests.simulation.users import Users, furnish
from tests.simulation.virtual_time import Killed, VirtualLoop
from tests.simulation.world import World

BOUND = 60.0  # virtual seconds in which everything comes true once faults have stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one seed went. `calm_after` is the virtual seconds from the last fault until all was well."""

    seed: int
    broken: str
    rule: str
    steps: int
    calm_after: float
    digest: str
    faults: Counter[str] = field(default_factory=Counter)
    trace: tuple[str, ...] = ()

    def without_trace(self) -> Outcome:
        """The trace is only of interest when a rule is broken."""
        return self if self.broken else replace(self, trace=())


@cache
def engines() -> Engines:
    """The database of this Python process, furnished."""
    made = Engines()
    loop = VirtualLoop(Random(0))
    with seeded(Random(0)), quiet():
        loop.run_until_complete(_furnish(made))
    loop.close()
    made.keep_as_template()
    return made


async def _furnish(made: Engines) -> None:
    furnish(made)


def simulate(seed: int, profile: Profile | None = None) -> Outcome:
    """Let everything happen that this seed means; with the faults of `profile`, if it is given."""
    chance = Random(seed)
    shared = engines()
    shared.start_over()
    loop = VirtualLoop(chance)
    loop.set_exception_handler(_unexpected)
    gc.disable()  # a history is short: what it leaves behind is collected between two of them
    try:
        with seeded(chance), quiet():
            return loop.run_until_complete(_history(seed, shared, chance, profile))
    finally:
        gc.enable()
        loop.close()


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not isinstance(context.get("exception"), Killed | asyncio.CancelledError):
        loop.default_exception_handler(context)


async def _history(seed: int, shared: Engines, chance: Random, profile: Profile | None) -> Outcome:
    world = World(seed, shared, chance, profile or draw(chance))
    orchestrators = [OrchestratorHost(world, "north", workers=2), OrchestratorHost(world, "south", workers=1)]
    users, trouble = Users(world), Troublemaker(world, orchestrators)
    for machine in world.machines:
        machine.boot()
    for orchestrator in orchestrators:
        orchestrator.boot()
    calm_after = await _until_calm(world, users, trouble)
    for process in [*(each.process for each in orchestrators), *(each.process for each in world.machines)]:
        if process is not None:
            process.on_death = _nothing
            process.kill()
            await process.ended()
    broken = world.over.result() if world.over.done() else None
    return Outcome(
        seed=seed,
        broken="" if broken is None else str(broken),
        rule="" if broken is None else broken.rule,
        steps=world.steps,
        calm_after=calm_after,
        digest=world.digest(),
        faults=world.faults,
        trace=tuple(world.lines()),
    )


def _nothing() -> None:
    pass


async def _until_calm(world: World, users: Users, trouble: Troublemaker) -> float:
    """Seconds from the end of the faults until everything is as it should be, or a rule is broken."""
    loop = asyncio.get_running_loop()
    lives = [loop.create_task(users.live()), loop.create_task(trouble.live())]
    await asyncio.wait({world.over}, timeout=world.profile.trouble)
    for life in lives:
        life.cancel()
    for ended in await asyncio.gather(*lives, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    begun = loop.time()
    trouble.stop()
    users.calm_down()
    while not world.over.done():
        await asyncio.wait({world.over}, timeout=1.0)
        missing = lacking(world, users)
        if not missing:
            break
        if loop.time() - begun > BOUND:
            world.broken(Broken("convergence", f"{BOUND:g} s after the last fault, {missing}"))
    return loop.time() - begun
