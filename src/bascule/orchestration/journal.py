"""The record of jobs: the whole tree is written when it begins, each node's state as it changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from bascule.orchestration.jobs import Job, Path, walk
from bascule.orchestration.queue import Claim
from bascule.orchestration.tables import OrchestrationTables

Transaction = Callable[[], AbstractContextManager[Connection]]
JOBS_KEPT_PER_ENTITY = 20


class NodeState(StrEnum):
    """The states of a node of a job tree, and of the job itself."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"


class Journal:
    """The record of one job."""

    def __init__(self, tables: OrchestrationTables, transaction: Transaction, claim: Claim, event: str) -> None:
        self._tables, self._transaction, self._claim, self._event = tables, transaction, claim, event
        self.job_id = str(uuid4())

    def begin(self, job: Job, now: float) -> None:
        """Write the tree, everything waiting, and let go of the entity's oldest jobs."""
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
                {"job_id": self.job_id, "path": written(path), "node": type(node).__name__.lower(), "title": node.title}
                for path, node in walk(job)
            ]
            connection.execute(insert(self._tables.job_steps).values(state=NodeState.WAITING), rows)
            self._forget_old(connection)

    def started(self, path: Path, now: float) -> None:
        """A node begins."""
        self._update(path, {"state": NodeState.RUNNING, "started_at": now})

    def ended(self, path: Path, now: float, error: str = "") -> None:
        """A node ended; an empty error means well."""
        self._update(
            path, {"state": NodeState.FAILURE if error else NodeState.SUCCESS, "ended_at": now, "error": error}
        )

    def end(self, now: float, error: str = "") -> None:
        """The job ended; an empty error means well."""
        jobs = self._tables.jobs
        values = {"state": NodeState.FAILURE if error else NodeState.SUCCESS, "ended_at": now, "error": error}
        with self._transaction() as connection:
            connection.execute(update(jobs).where(jobs.c.id == self.job_id).values(values))

    def _update(self, path: Path, values: dict[str, object]) -> None:
        steps = self._tables.job_steps
        with self._transaction() as connection:
            connection.execute(
                update(steps).where(steps.c.job_id == self.job_id, steps.c.path == written(path)).values(values)
            )

    def _forget_old(self, connection: Connection) -> None:
        jobs, entity = self._tables.jobs, self._claim.entity
        kept = (
            select(jobs.c.id)
            .where(jobs.c.kind == entity.kind, jobs.c.entity_id == entity.id)
            .order_by(jobs.c.started_at.desc())
            .offset(JOBS_KEPT_PER_ENTITY)
        )
        old = [row.id for row in connection.execute(kept)]
        connection.execute(delete(self._tables.job_steps).where(self._tables.job_steps.c.job_id.in_(old)))
        connection.execute(delete(jobs).where(jobs.c.id.in_(old)))


def written(path: Path) -> str:
    """A path as the table keeps it."""
    return ".".join(str(number) for number in path)


def interrupted(tables: OrchestrationTables, connection: Connection, claim: Claim, now: float) -> None:
    """Close the books on jobs whose worker died: this claim, with a later epoch, has taken the entity over."""
    jobs, entity = tables.jobs, claim.entity
    connection.execute(
        update(jobs)
        .where(jobs.c.kind == entity.kind, jobs.c.entity_id == entity.id)
        .where(jobs.c.epoch < claim.epoch, jobs.c.state == NodeState.RUNNING)
        .values(state=NodeState.FAILURE, ended_at=now, error="The worker that ran this job died or lost its lease.")
    )
