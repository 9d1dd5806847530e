"""The worker and the runner: over a real queue, with an application of three steps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, select

from bascule.model.errors import SystemFailure, Unavailable
from bascule.orchestration.claims import Claim
from bascule.orchestration.jobs import Action, Parallel, Sequence, Step, Try, walk
from bascule.orchestration.retry import RetryPolicy
from bascule.store.tables import orchestration
from tests.unit.orchestration.application import Say, Stage, words


async def test_a_sequence_stops_at_the_first_failure(stage: Stage) -> None:
    """What comes after a failed step is not done, and the record says so."""
    stage.talker.job = Sequence("all", (*words("a"), Step(Say("b", fails=True)), *words("c")))
    stage.ask()
    assert await stage.worker.run_once()
    assert stage.talker.said == ["a", "b"]
    assert stage.step_states() == {"all": "failure", "a": "success", "b": "failure", "c": "waiting"}


async def test_parallel_lets_the_others_end(stage: Stage) -> None:
    """One branch's failure neither stops nor hides the others."""
    stage.talker.job = Parallel("all", (Step(Say("a", fails=True)), *words("b", "c")))
    stage.ask()
    await stage.worker.run_once()
    assert sorted(stage.talker.said) == ["a", "b", "c"]
    assert stage.step_states()["all"] == "failure"


async def test_try_rescues_and_always_ends(stage: Stage) -> None:
    """A rescued failure is a success; finally runs in any case."""
    stage.talker.job = Try("all", Step(Say("body", fails=True)), rescue=words("rescue")[0], ensure=words("end")[0])
    stage.ask()
    await stage.worker.run_once()
    assert stage.talker.said == ["body", "rescue", "end"]
    assert stage.step_states()["all"] == "success"


async def test_finally_runs_after_an_unrescued_failure(stage: Stage) -> None:
    """Without rescue the failure stands, after finally."""
    stage.talker.job = Try("all", Step(Say("body", fails=True)), ensure=words("end")[0])
    stage.ask()
    await stage.worker.run_once()
    assert stage.talker.said == ["body", "end"]
    assert stage.step_states()["all"] == "failure"


async def test_failures_back_off_page_once_and_page_recovery_once(stage: Stage) -> None:
    """N failures ring one alarm, further ones none, recovery one more; each waits longer than the first."""
    stage.talker.job = Step(Say("a", fails=True))
    stage.ask()
    for _ in range(5):
        assert await stage.worker.run_once()
        assert not await stage.worker.run_once(), "a failed entity waits"
        stage.clock.time += 10.0
    assert stage.alarms.rung == ["failing after 3: a does not answer."]
    assert stage.talker.told == ["a does not answer."]
    stage.talker.job = Step(Say("a"))
    assert await stage.worker.run_once()
    assert stage.alarms.rung[1:] == ["recovered after 5"]
    assert not await stage.worker.run_once()


async def test_a_bug_in_one_entity_does_not_stop_the_worker(stage: Stage) -> None:
    """Any exception is a failure of that entity, retried like others."""
    stage.talker.job = Step(object())  # type: ignore[arg-type]
    stage.ask()
    assert await stage.worker.run_once()
    stage.talker.job = Step(Say("fine"))
    stage.clock.time += 10.0
    assert await stage.worker.run_once()
    assert stage.talker.said == ["fine"]


async def test_a_worker_that_lost_its_lease_stops_before_the_next_step(stage: Stage) -> None:
    """When another worker takes over during a step, the steps after it are not performed."""
    stage.talker.job = Sequence("all", words("a", "b", "c"))
    stage.ask()
    perform = stage.talker.perform

    async def and_lose_the_lease(claim: Claim, action: Action) -> None:
        await perform(claim, action)
        stage.clock.time += 100.0
        with stage.database.write() as connection:
            assert stage.queue.claim(connection, holder="thief", now=stage.clock.now(), lease=60.0) is not None

    stage.talker.perform = and_lose_the_lease  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await stage.worker.run_once()
    assert stage.talker.said == ["a"]


async def test_an_entity_that_is_gone_is_forgotten(stage: Stage) -> None:
    """Nothing is left in the queue of an entity that was deleted."""
    stage.talker.job, stage.talker.gone = Step(Say("bye")), True
    stage.ask()
    await stage.worker.run_once()
    with stage.database.read() as connection:
        assert connection.execute(select(orchestration.reconciliations)).all() == []


async def test_a_stopped_worker_gives_the_entity_back(stage: Stage) -> None:
    """SIGTERM in the middle of a job lets another worker take over at once."""
    stage.talker.job, stage.talker.pause = Sequence("all", words("a", "b")), 30.0
    stage.ask()
    run = asyncio.ensure_future(stage.worker.run_once())
    await stage.talker.spoke.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    with stage.database.write() as connection:
        assert stage.queue.claim(connection, holder="other", now=stage.clock.now(), lease=1.0) is not None


def test_a_tree_reads_from_top_to_bottom() -> None:
    """Paths number the children of each node."""
    tree = Sequence("root", (Parallel("pair", words("a", "b")), *words("c")))
    assert [(path, node.title) for path, node in walk(tree)] == [
        ((1,), "root"),
        ((1, 1), "pair"),
        ((1, 1, 1), "a"),
        ((1, 1, 2), "b"),
        ((1, 2), "c"),
    ]


def test_delays_grow_and_are_bounded() -> None:
    """Each delay lies between half of the exponential ceiling and all of it."""
    policy, chance = RetryPolicy(first=1.0, longest=60.0), random.Random(7)
    for attempts in range(1, 2000, 7):
        ceiling = min(60.0, 2.0 ** min(attempts - 1, 30))
        assert ceiling / 2 <= policy.delay(attempts, chance) <= ceiling


def test_errors_carry_a_sentence() -> None:
    """The record of a failure is the error's own sentence."""
    assert SystemFailure("Do this.").sentence == "Do this."


async def test_a_database_that_is_away_costs_nothing_but_time(stage: Stage) -> None:
    """While no transaction opens the worker waits; when one does, the job that was waiting is done."""
    stage.talker.job = Step(Say("at last"))
    stage.ask()
    refusals = 5

    @contextmanager
    def sometimes() -> Iterator[Connection]:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise Unavailable("The database does not answer: nothing was changed, try again.")
        with stage.database.write() as connection:
            yield connection

    worker = stage.new_worker(sometimes)
    run = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(10):
        await stage.talker.spoke.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert refusals == 0
