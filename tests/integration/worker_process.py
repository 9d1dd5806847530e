"""A process with one worker, for tests that share a PostgreSQL: `python -m tests.integration.worker_process URL NAME`.

A step writes who works on the entity and takes it back at its end: two workers on one entity at once violate a key.
An entity named `hang` keeps its first worker for ever.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, insert

from bascule.clock import SystemClock
from bascule.orchestration.bell import PostgreSQLBell
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.escalation import LogEscalation
from bascule.orchestration.jobs import Action, Job, Step
from bascule.orchestration.reconciler import Decision
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.worker import Worker
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration

KIND, HANG, LEASE = "thing", "hang", 3.0
metadata = MetaData()
busy = Table("busy", metadata, Column("entity_id", String, primary_key=True), Column("worker", String))
runs = Table("runs", metadata, Column("entity_id", String), Column("worker", String))


@dataclass(frozen=True)
class Work:
    """The only step."""

    title: str = "work"


@dataclass
class Labourer:
    """An application of one step."""

    database: Database
    kind: str = KIND

    async def inventory(self, claim: Claim) -> Claim:
        """The claim is all there is to know."""
        return claim

    def decide(self, inventory: Claim) -> Decision[Claim]:
        """Work."""
        return Decision(sentence="work", event=inventory)

    def plan(self, event: Claim) -> Job:
        """One step."""
        return Step(Work())

    async def perform(self, claim: Claim, action: Action) -> None:
        """Be the only one who works on it for a moment."""
        entity = claim.entity.id
        if entity == HANG and claim.epoch == 1:
            await asyncio.Event().wait()
        with self.database.write() as connection:
            connection.execute(insert(busy).values(entity_id=entity, worker=claim.holder))
        await asyncio.sleep(0.002)
        with self.database.write() as connection:
            connection.execute(delete(busy).where(busy.c.entity_id == entity))
            connection.execute(insert(runs).values(entity_id=entity, worker=claim.holder))

    def exists(self, connection: Connection, entity: Entity) -> bool:
        """Always."""
        return True

    def gave_up(self, connection: Connection, claim: Claim, error: str) -> None:
        """Nobody waits."""


async def main(url: str, name: str) -> None:
    """Work until killed."""
    engine = open_database(url)
    database, bell = Database(engine), PostgreSQLBell(engine.url)
    worker = Worker(
        name=name,
        reconcilers={KIND: Labourer(database)},
        tables=orchestration,
        transaction=database.write,
        clock=SystemClock(),
        chance=random.Random(),
        escalation=LogEscalation(),
        policy=RetryPolicy(first=0.2, longest=0.5),
        lease=LEASE,
        idle=0.5,
        bell=bell,
    )
    await asyncio.gather(bell.run(), worker.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
