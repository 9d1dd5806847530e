"""Nodes that try again and end in time, cancellation, and what the record keeps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from sqlalchemy import func, select

from bascule.model.errors import Conflict, Unavailable
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.jobs import Action, Job, Parallel, Retry, Sequence, Step, Timeout, Try
from bascule.orchestration.journal import Retention
from bascule.orchestration.printable import ITEMS_SHOWN, printable
from bascule.orchestration.queue import Priority
from bascule.store import jobs
from bascule.store.tables import orchestration
from tests.unit.orchestration.application import ENTITY, Say, Stage, words


def fails_at_first(stage: Stage, times: int) -> None:
    """The first so many steps fail, whatever they are."""
    perform, left = stage.talker.perform, times

    async def or_fail(claim: Claim, action: Action) -> object:
        nonlocal left
        answer = await perform(claim, action)
        if left:
            left -= 1
            raise Unavailable("not yet")
        return answer

    stage.talker.perform = or_fail  # type: ignore[method-assign]


async def run(stage: Stage, job: Job) -> None:
    """Ask for a run of this job, and run it."""
    stage.talker.job = job
    stage.ask()
    assert await stage.worker.run_once()


async def test_retry_tries_again_until_it_goes_well(stage: Stage) -> None:
    """Two failures and a success are a success after three attempts; nothing of the failures stays on the steps."""
    fails_at_first(stage, 2)
    await run(stage, Retry("try", Sequence("both", words("a", "b")), times=5))
    assert stage.talker.said == ["a", "a", "a", "b"]
    root, both, first, _ = stage.steps()
    assert (root.state, root.output) == ("success", {"attempts": 3})
    assert [(node.state, node.error) for node in (both, first)] == [("success", "")] * 2


async def test_retry_gives_up_with_the_last_error(stage: Stage) -> None:
    """Three failures of three attempts are a failure."""
    await run(stage, Retry("try", Step(Say("a", fails=True)), times=3))
    assert stage.talker.said == ["a"] * 3
    assert [(node.state, node.error) for node in stage.steps()] == [("failure", "a does not answer.")] * 2


async def test_timeout_ends_what_hangs(stage: Stage) -> None:
    """The step is cancelled, its finally is done, the job fails with the time that was given."""
    stage.talker.pause = 30.0
    hanging = Try("guarded", words("hang")[0], ensure=Step(Say("hang too")))
    stage.talker.job = Timeout("soon", hanging, seconds=20.0)
    perform = stage.talker.perform

    async def only_the_first_hangs(claim: Claim, action: Action) -> object:
        stage.talker.pause = 30.0 if action.title == "hang" else 0.0
        return await perform(claim, action)

    stage.talker.perform = only_the_first_hangs  # type: ignore[method-assign]
    stage.ask()
    assert await stage.worker.run_once()
    assert stage.step_states() == {
        "soon": "failure",
        "guarded": "cancelled",
        "hang": "cancelled",
        "hang too": "success",
    }
    assert stage.steps()[0].error == "guarded took longer than 20 s: see which step hung, and why."


async def test_timeout_leaves_alone_what_ends_in_time(stage: Stage) -> None:
    """Neither success nor failure of the body is changed."""
    await run(stage, Timeout("soon", Step(Say("a")), seconds=1e6))
    assert stage.step_states() == {"soon": "success", "a": "success"}
    await run(stage, Timeout("soon", Step(Say("b", fails=True)), seconds=1e6))
    assert stage.steps()[0].error == "b does not answer."


async def test_an_operator_cancels_a_running_job(stage: Stage) -> None:
    """Steps side by side stop, finally is done, later steps are not; the entity waits, without a failure counted."""
    side_by_side = Parallel("both", words("a", "b"))
    stage.talker.job = Sequence("all", (Try("guarded", side_by_side, ensure=words("tidy")[0]), *words("later")))
    perform = stage.talker.perform

    async def hang(claim: Claim, action: Action) -> object:
        answer = await perform(claim, action)
        if action.title in {"a", "b"}:
            await asyncio.Event().wait()
        return answer

    stage.talker.perform = hang  # type: ignore[method-assign]
    stage.ask()
    running = asyncio.ensure_future(stage.worker.run_once())
    await stage.talker.spoke.wait()
    with stage.database.write() as connection:
        (job,) = jobs.latest(connection, entity_id=ENTITY.id, limit=1)
        for _ in range(2):
            jobs.cancel(connection, job["id"], now=stage.clock.now())
    assert await running
    assert stage.talker.said == ["a", "b", "tidy"]
    assert stage.step_states() == {
        "all": "cancelled",
        "guarded": "cancelled",
        "both": "cancelled",
        "a": "cancelled",
        "b": "cancelled",
        "tidy": "success",
        "later": "waiting",
    }
    with stage.database.write() as connection:
        ended = jobs.get(connection, job["id"])
        assert (ended["state"], ended["error"].split(":")[0]) == ("cancelled", "Cancelled by an operator")
        (entry,) = jobs.queue(connection)
        assert (entry["attempts"], entry["waiting"], entry["lease_holder"]) == (0, True, None)
        assert entry["due_at"] == stage.clock.now() + 8.0
        with pytest.raises(Conflict, match="has ended"):
            jobs.cancel(connection, job["id"], now=0.0)


async def test_a_lost_lease_ends_the_running_step_and_skips_finally(stage: Stage) -> None:
    """The heartbeat notices; what the heir does must not be undone by the late worker's finally."""
    stage.talker.job, stage.talker.pause = Try("guarded", words("a")[0], ensure=words("tidy")[0]), 1e6
    stage.ask()
    running = asyncio.ensure_future(stage.worker.run_once())
    await stage.talker.spoke.wait()
    stage.clock.time += 100.0
    with stage.database.write() as connection:
        assert stage.queue.claim(connection, holder="heir", now=stage.clock.now(), lease=60.0) is not None
    with pytest.raises(Unavailable):
        await running
    assert stage.talker.said == ["a"]


async def test_a_worker_told_to_stop_stops_though_the_database_is_away(stage: Stage) -> None:
    """Giving the entity back fails; the worker ends all the same, and the lease runs out by itself."""
    stage.talker.job, stage.talker.pause = Sequence("all", words("a", "b")), 1e6
    stage.ask()
    running = asyncio.ensure_future(stage.worker.run())
    await stage.talker.spoke.wait()
    stage.database.engine.dispose()
    stage.database.write = lambda: (_ for _ in ()).throw(Unavailable("away"))  # type: ignore[method-assign]
    running.cancel()
    async with asyncio.timeout(10):
        with suppress(asyncio.CancelledError):
            await running
    assert running.cancelled()


@dataclass(frozen=True)
class Login:
    """A step that is given a secret and a long list."""

    name: str
    members: tuple[int, ...]
    at: UUID
    password: str = field(repr=False)

    @property
    def title(self) -> str:
        """One line."""
        return f"log in as {self.name}"


async def test_the_record_keeps_what_steps_were_given_and_answered(stage: Stage) -> None:
    """Fields of the action but secrets, long lists cut; the answer; times; for a step only."""
    at = UUID(int=7)
    login = Login("root", tuple(range(ITEMS_SHOWN + 5)), at, password="hunter2")

    async def perform(claim: Claim, action: Action) -> object:
        stage.clock.time += 2.0
        return {"session": at, "roles": frozenset({"b", "a"})}

    stage.talker.perform = perform  # type: ignore[method-assign]
    await run(stage, Sequence("all", (Step(login),)))
    root, step = stage.steps()
    assert (root.input, root.output) == (None, None)
    assert step.input == {"name": "root", "members": [*range(ITEMS_SHOWN), "and 5 more"], "at": str(at)}
    assert step.output == {"session": str(at), "roles": ["a", "b"]}
    assert step.ended_at - step.started_at == 2.0
    assert "hunter2" not in str(printable([login]))


async def test_only_so_many_jobs_are_kept(stage: Stage) -> None:
    """The newest of each entity stay, with their steps."""
    worker = stage.new_worker(stage.database.write, Retention(jobs=2, days=1.0))
    for word in ("a", "b", "c"):
        stage.talker.job = words(word)[0]
        stage.ask()
        stage.clock.time += 1.0
        assert await worker.run_once()
    with stage.database.read() as connection:
        kept = jobs.latest(connection, entity_id=None, limit=10)
        titles = [jobs.steps(connection, job["id"])[0]["title"] for job in kept]
        assert titles == ["c", "b"]
        steps = select(func.count()).select_from(orchestration.job_steps)
        assert connection.execute(steps).scalar_one() == 2


async def test_old_jobs_go_though_their_entity_never_runs_again(stage: Stage) -> None:
    """After a day the job of one entity is dropped when another one runs; a younger one is not."""
    worker = stage.new_worker(stage.database.write, Retention(jobs=20, days=1.0))
    for number, later in enumerate((0.0, 80_000.0, 10_000.0)):
        stage.clock.time += later
        stage.talker.job = words("a")[0]
        with stage.database.write() as connection:
            entity = Entity("thing", str(number))
            stage.queue.request(connection, entity, priority=Priority.USER, reason="test", now=stage.clock.now())
        assert await worker.run_once()
    with stage.database.read() as connection:
        assert [job["entity_id"] for job in jobs.latest(connection, entity_id=None, limit=10)] == ["2", "1"]
