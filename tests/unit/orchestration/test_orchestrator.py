"""A process's share of the work, put together; and the sweep that asks for everything."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sqlalchemy import select

from bascule.orchestration import Entity, Orchestrator, Page, RetryPolicy, Step
from bascule.orchestration.sweep import Sweep
from bascule.store.tables import orchestration
from tests.unit.orchestration.application import ENTITY, Say, Stage


class Mailbox:
    """A notifier that keeps what it is given."""

    receivers = ("mailbox",)

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.arrived = asyncio.Event()

    async def send(self, page: Page, receiver: str) -> None:
        """Keep it."""
        self.titles.append(page.title)
        self.arrived.set()


def orchestrator(stage: Stage, mailbox: Mailbox) -> Orchestrator:
    """One that sweeps a single entity."""
    return Orchestrator(
        name="test",
        application="tests",
        reconcilers=[stage.talker],
        database=stage.database,
        tables=orchestration,
        workers=2,
        entities=lambda _connection: [ENTITY],
        sweep=0.5,
        notifier=mailbox,
        policy=RetryPolicy(first=1.0, longest=8.0, escalate_after=3),
        clock=stage.clock,
    )


async def test_a_process_told_to_stop_gives_back_what_it_works_on(stage: Stage) -> None:
    """Everything that it runs has ended, and another process need not wait for a lease."""
    stage.talker.job, stage.talker.pause = Step(Say("hello")), 1e6
    stage.ask()
    working = asyncio.create_task(orchestrator(stage, Mailbox()).run())
    async with asyncio.timeout(30):
        await stage.talker.spoke.wait()
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    with stage.database.write() as connection:
        assert stage.queue.claim(connection, holder="other", now=stage.clock.now(), lease=1.0) is not None


async def test_nobody_asked_and_it_is_found_done_and_told(stage: Stage) -> None:
    """The sweep asks, a worker tries, the pager tells: with the application's name first."""
    stage.talker.job, mailbox = Step(Say("hello", fails=True)), Mailbox()
    working = asyncio.create_task(orchestrator(stage, mailbox).run())
    async with asyncio.timeout(30):
        while not mailbox.arrived.is_set():
            stage.clock.time += 1.0
            await asyncio.sleep(0)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    assert mailbox.titles == ["tests: thing one"]


def test_a_sweep_is_spread_and_each_entity_has_its_moment(stage: Stage) -> None:
    """Two hundred entities do not come due at once, and the next sweep asks for each at the same moment of it."""
    table, entities = orchestration.reconciliations, [Entity("thing", str(number)) for number in range(200)]
    sweep = Sweep(
        queue=stage.queue,
        transaction=stage.database.write,
        entities=lambda _connection: entities,
        clock=stage.clock,
        every=100.0,
    )

    def moments() -> dict[str, float]:
        sweep.run_once()
        with stage.database.write() as connection:
            found = {row.entity_id: row.due_at - stage.clock.now() for row in connection.execute(select(table))}
            connection.execute(table.delete())
        return found

    first = moments()
    assert all(0 <= moment < 100.0 for moment in first.values())
    assert {int(moment // 10) for moment in first.values()} == set(range(10))
    stage.clock.time += 100.0
    assert moments() == first
