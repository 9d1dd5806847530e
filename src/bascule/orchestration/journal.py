"""The record of jobs: the whole tree is written when it begins, each node's state as it changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, update

from bascule.orchestration.claims import Claim
from bascule.orchestration.jobs import Job, Path, Step, walk
from bascule.orchestration.printable import printable
from bascule.orchestration.tables import OrchestrationTables

Transaction = Callable[[], AbstractContextManager[Connection]]
Guard = Callable[[Connection], None]
_DAY = 86_400.0
_FORGOTTEN_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many jobs of each entity are kept, and for how many days at most."""

    jobs: int = 20
    days: float = 30.0


DEFAULT_RETENTION = Retention()


def _anyway(_connection: Connection) -> None:
    """Nothing keeps a node from beginning."""


class NodeState(StrEnum):
    """The states of a node of a job tree, and of the job itself."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


class Journal:
    """The record of one job."""

    def __init__(
        self,
        tables: OrchestrationTables,
        transaction: Transaction,
        claim: Claim,
        event: str,
        retention: Retention = DEFAULT_RETENTION,
    ) -> None:
        self._tables, self._transaction, self._claim, self._event = tables, transaction, claim, event
        self._retention = retention
        self.job_id = str(uuid4())
        steps = tables.job_steps
        # Built once: it is by far the most frequent statement of a job.
        self._step = update(steps).where(
            steps.c.job_id == bindparam("of_job"), steps.c.path == bindparam("at_path", type_=steps.c.path.type)
        )

    def begin(self, job: Job, now: float) -> None:
        """Write the tree, everything waiting, and let go of jobs that are not kept any longer."""
        entity = self._claim.entity
        with self._transaction() as connection:
            connection.execute(
                insert(self._tables.jobs).values(
                    id=self.job_id,
                    kind=entity.kind,
                    entity_id=entity.id,
                    epoch=self._claim.epoch,
                    event=self._event,
                    state=NodeState.RUNNING,
                    started_at=now,
                )
            )
            rows = [
                {
                    "job_id": self.job_id,
                    "path": written(path),
                    "node": type(node).__name__.lower(),
                    "title": node.title,
                    "input": printable(node.action) if isinstance(node, Step) else None,
                }
                for path, node in walk(job)
            ]
            connection.execute(insert(self._tables.job_steps).values(state=NodeState.WAITING), rows)
            self._forget_old(connection, now)

    def started(self, path: Path, now: float, guard: Guard = _anyway) -> None:
        """A node begins, if `guard` lets it: asked in the same transaction."""
        with self._transaction() as connection:
            guard(connection)
            self._write(connection, path, {"state": NodeState.RUNNING, "started_at": now})

    def ended(self, path: Path, now: float, *, output: object = None) -> None:
        """A node ended well, with this answer."""
        self._update(path, {"state": NodeState.SUCCESS, "ended_at": now, "error": "", "output": printable(output)})

    def failed(self, path: Path, now: float, error: str, *, cancelled: bool = False) -> None:
        """A node failed, or was ended before it was done."""
        self._update(path, {"state": _ill(cancelled), "ended_at": now, "error": error})

    def again(self, path: Path) -> None:
        """Everything below a node waits anew: it is tried once more."""
        fresh = {"state": NodeState.WAITING, "started_at": None, "ended_at": None, "output": None}
        steps = self._tables.job_steps
        below = steps.c.path.like(f"{written(path)}.%")
        with self._transaction() as connection:
            connection.execute(update(steps).where(steps.c.job_id == self.job_id, below).values(fresh))

    def end(self, now: float, error: str = "", *, cancelled: bool = False) -> None:
        """The job ended; an empty error means well."""
        state = _ill(cancelled) if error else NodeState.SUCCESS
        jobs = self._tables.jobs
        with self._transaction() as connection:
            connection.execute(
                update(jobs).where(jobs.c.id == self.job_id).values(state=state, ended_at=now, error=error)
            )

    def _update(self, path: Path, values: dict[str, object]) -> None:
        with self._transaction() as connection:
            self._write(connection, path, values)

    def _write(self, connection: Connection, path: Path, values: dict[str, object]) -> None:
        connection.execute(self._step, {**values, "of_job": self.job_id, "at_path": written(path)})

    def _forget_old(self, connection: Connection, now: float) -> None:
        """What this entity has too much of, and what is too old whosever it is; steps go with their job."""
        jobs, entity = self._tables.jobs, self._claim.entity
        surplus = (
            select(jobs.c.id)
            .where(jobs.c.kind == entity.kind, jobs.c.entity_id == entity.id)
            .order_by(jobs.c.started_at.desc())
            .offset(self._retention.jobs)
        )
        old = (
            select(jobs.c.id)
            .where(jobs.c.started_at < now - self._retention.days * _DAY, jobs.c.state != NodeState.RUNNING)
            .order_by(jobs.c.started_at)
            .limit(_FORGOTTEN_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        gone = [row.id for query in (surplus, old) for row in connection.execute(query)]
        if gone:
            connection.execute(delete(self._tables.job_steps).where(self._tables.job_steps.c.job_id.in_(gone)))
            connection.execute(delete(jobs).where(jobs.c.id.in_(gone)))


def written(path: Path) -> str:
    """A path as the table keeps it."""
    return ".".join(str(number) for number in path)


def numbers(path: str) -> Path:
    """A path as the table keeps it, as numbers: what a tree is sorted by."""
    return tuple(int(part) for part in path.split(".") if part.isdigit())


def steps_of(tables: OrchestrationTables, connection: Connection, job_id: str) -> list[Row[Any]]:
    """The nodes of a job's tree, read from the top."""
    rows = connection.execute(select(tables.job_steps).where(tables.job_steps.c.job_id == job_id))
    return sorted(rows, key=lambda row: numbers(row.path))


def steps_of_run(tables: OrchestrationTables, connection: Connection, claim: Claim) -> list[Row[Any]]:
    """The tree of the job that this claim ran, from the top; nothing when it came to no job."""
    job_id = connection.execute(select(tables.jobs.c.id).where(_run_by(tables, claim))).scalars().first()
    return [] if job_id is None else steps_of(tables, connection, job_id)


def cancellation_requested(tables: OrchestrationTables, connection: Connection, claim: Claim) -> bool:
    """Whether an operator wants the job that this claim runs to stop."""
    jobs = tables.jobs
    asked = select(jobs.c.id).where(_run_by(tables, claim), jobs.c.cancel_requested_at.is_not(None))
    return connection.execute(asked.limit(1)).one_or_none() is not None


def interrupted(tables: OrchestrationTables, connection: Connection, claim: Claim, now: float) -> None:
    """Close the books on jobs whose worker died: this claim, with a later epoch, has taken the entity over."""
    jobs, steps, entity = tables.jobs, tables.job_steps, claim.entity
    ended = {"state": NodeState.FAILURE, "ended_at": now}
    left = and_(
        jobs.c.kind == entity.kind,
        jobs.c.entity_id == entity.id,
        jobs.c.epoch < claim.epoch,
        jobs.c.state == NodeState.RUNNING,
    )
    connection.execute(
        update(steps)
        .where(steps.c.job_id.in_(select(jobs.c.id).where(left)), steps.c.state == NodeState.RUNNING)
        .values(ended)
    )
    error = "The worker that ran this job died or lost its lease."
    connection.execute(update(jobs).where(left).values(**ended, error=error))


def _run_by(tables: OrchestrationTables, claim: Claim) -> Any:
    jobs, entity = tables.jobs, claim.entity
    return and_(jobs.c.kind == entity.kind, jobs.c.entity_id == entity.id, jobs.c.epoch == claim.epoch)


def _ill(cancelled: bool) -> NodeState:
    return NodeState.CANCELLED if cancelled else NodeState.FAILURE
