"""An application of the orchestration library for tests: it says words, and its clock is moved by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from bascule.model.errors import Unavailable
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.jobs import Action, Job, Step
from bascule.orchestration.journal import DEFAULT_RETENTION, Retention, Transaction, steps_of
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Priority, Queue
from bascule.orchestration.reconciler import Decision
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.worker import Worker
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration

ENTITY = Entity("thing", "one")


@dataclass(frozen=True)
class Say:
    """A step that says a word, or fails with it."""

    title: str
    fails: bool = False


@dataclass
class Talker:
    """An application: each run plans `job` and writes down what was said."""

    job: Job | None
    said: list[str] = field(default_factory=list)
    gone: bool = False
    told: list[str] = field(default_factory=list)
    kind: str = "thing"
    pause: float = 0.0
    spoke: asyncio.Event = field(default_factory=asyncio.Event)

    async def inventory(self, claim: Claim) -> int:
        """Nothing to look at."""
        return claim.epoch

    def decide(self, inventory: int) -> Decision[Job]:
        """Do the job."""
        return Decision(sentence="talk", event=self.job)

    def plan(self, event: Job) -> Job:
        """The job as it is."""
        return event

    async def perform(self, claim: Claim, action: Action) -> object:
        """Say it; the answer is the word aloud."""
        assert isinstance(action, Say)
        self.said.append(action.title)
        self.spoke.set()
        if self.pause:
            await asyncio.sleep(self.pause)
        if action.fails:
            raise Unavailable(f"{action.title} does not answer.")
        return {"said": action.title.upper()}

    def exists(self, connection: Connection, entity: Entity) -> bool:
        """Until it is gone."""
        return not self.gone

    def gave_up(self, connection: Connection, claim: Claim, error: str) -> None:
        """Remember the error."""
        self.told.append(error)


@dataclass
class Alarms:
    """An escalation that remembers."""

    rung: list[str] = field(default_factory=list)

    def failing(self, entity: Entity, attempts: int, error: str) -> None:
        """Remember."""
        self.rung.append(f"failing after {attempts}: {error}")

    def recovered(self, entity: Entity, attempts: int) -> None:
        """Remember."""
        self.rung.append(f"recovered after {attempts}")


class HandClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        """The time set."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Real time, a thousand times faster."""
        await asyncio.sleep(seconds / 1000)


@dataclass
class Stage:
    """A database, a clock, an application and one worker."""

    database: Database
    clock: HandClock
    talker: Talker
    alarms: Alarms
    queue: Queue

    def __post_init__(self) -> None:
        self.worker = self.new_worker(self.database.write)

    def new_worker(self, transaction: Transaction, retention: Retention = DEFAULT_RETENTION) -> Worker:
        """A worker that reaches the database in this way."""
        return Worker(
            name="test",
            reconcilers={"thing": self.talker},
            tables=orchestration,
            transaction=transaction,
            clock=self.clock,
            chance=random.Random(1),
            escalation=self.alarms,
            policy=RetryPolicy(first=1.0, longest=8.0, escalate_after=3),
            pages=Pages(orchestration),
            retention=retention,
        )

    def ask(self) -> None:
        """Request a run."""
        with self.database.write() as connection:
            self.queue.request(connection, ENTITY, priority=Priority.USER, reason="test", now=self.clock.now())

    def step_states(self) -> dict[str, str]:
        """The states of the last job's nodes, by title."""
        return {row.title: row.state for row in self.steps()}

    def steps(self) -> list[Row[Any]]:
        """The last job's nodes, from the top."""
        jobs = orchestration.jobs
        with self.database.read() as connection:
            last = connection.execute(select(jobs.c.id).order_by(jobs.c.epoch.desc()).limit(1)).scalar_one()
            return steps_of(orchestration, connection, last)


def words(*titles: str) -> tuple[Step, ...]:
    """Steps that say these."""
    return tuple(Step(Say(title)) for title in titles)


@contextmanager
def staged(database_url: str) -> Iterator[Stage]:
    """Everything needed to run a worker."""
    engine = open_database(database_url)
    yield Stage(Database(engine), HandClock(), Talker(None), Alarms(), Queue(orchestration))
    engine.dispose()
