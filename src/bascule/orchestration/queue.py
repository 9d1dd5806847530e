"""The queue: one row per entity, so that an entity is never reconciled twice at once and many requests make one run.

A request raises the row's `requested` number; a claim takes a lease and a new epoch; completing compares numbers: when
a request came during the run, the entity stays due and runs exactly once more. A lease that is not renewed in time can
be claimed by another worker, with a later epoch, and the late worker's completion is refused (`LeaseLost`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update

from bascule.model.errors import LeaseLost
from bascule.orchestration.tables import OrchestrationTables

REASONS_KEPT = 8


class Priority(IntEnum):
    """Lower runs first."""

    USER = 0
    OPERATOR = 10
    EVENT = 20
    PERIODIC = 30


@dataclass(frozen=True, slots=True)
class Entity:
    """What is reconciled: a kind the application names, and an identifier."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease on one entity. `requested` is the number this run answers; `attempts` the failures before it."""

    entity: Entity
    holder: str
    epoch: int
    requested: int
    attempts: int
    lease_until: float
    reasons: tuple[str, ...]


class Queue:
    """All methods work inside the caller's transaction; `now` is seconds since the epoch."""

    def __init__(self, tables: OrchestrationTables) -> None:
        self._table = tables.reconciliations

    def request(
        self, connection: Connection, entity: Entity, *, priority: Priority, reason: str, now: float, delay: float = 0.0
    ) -> None:
        """Ask for a reconciliation: at once, or after `delay` seconds when nobody wants it earlier.

        An entity that waits after a failure keeps waiting, unless a user or an operator asks.
        """
        table, due_at = self._table, now + delay
        row = connection.execute(select(table).where(self._is(entity)).with_for_update()).one_or_none()
        if row is None:
            connection.execute(
                insert(table).values(
                    kind=entity.kind,
                    entity_id=entity.id,
                    priority=priority,
                    requested=1,
                    due_at=due_at,
                    reasons=[reason],
                )
            )
            return
        waiting = row.requested > row.done
        backing_off = waiting and row.attempts > 0 and priority > Priority.OPERATOR
        earliest = row.due_at if backing_off else min(row.due_at, due_at)
        reasons = [*row.reasons, reason] if waiting else [reason]
        connection.execute(
            update(table)
            .where(self._is(entity))
            .values(
                requested=row.requested + 1,
                priority=min(row.priority, priority) if waiting else priority,
                due_at=earliest if waiting else due_at,
                reasons=list(dict.fromkeys(reasons))[-REASONS_KEPT:],
            )
        )

    def claim(self, connection: Connection, *, holder: str, now: float, lease: float) -> Claim | None:
        """Take the most urgent entity that is due and that nobody works on; None when there is none."""
        table = self._table
        row = connection.execute(
            select(table)
            .where(table.c.requested > table.c.done, table.c.due_at <= now, self._free(now))
            .order_by(table.c.priority, table.c.due_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        entity = Entity(row.kind, row.entity_id)
        connection.execute(
            update(table)
            .where(self._is(entity))
            .values(epoch=row.epoch + 1, lease_holder=holder, lease_until=now + lease)
        )
        return Claim(
            entity=entity,
            holder=holder,
            epoch=row.epoch + 1,
            requested=row.requested,
            attempts=row.attempts,
            lease_until=now + lease,
            reasons=tuple(row.reasons),
        )

    def renew(self, connection: Connection, claim: Claim, *, now: float, lease: float) -> None:
        """Keep the lease. Raises LeaseLost when another worker has claimed the entity."""
        self._as_holder(connection, claim, {"lease_until": now + lease})

    def check(self, connection: Connection, claim: Claim) -> None:
        """Raises LeaseLost when another worker has claimed the entity; also used inside a step's own transaction."""
        row = connection.execute(select(self._table.c.epoch).where(self._is(claim.entity))).one_or_none()
        if row is None or row.epoch != claim.epoch:
            raise self._lost(claim)

    def complete(self, connection: Connection, claim: Claim) -> None:
        """The run succeeded. A request that came meanwhile stays due."""
        values = {"done": claim.requested, "attempts": 0, "last_error": ""}
        self._as_holder(connection, claim, {**values, "lease_holder": None, "lease_until": None})

    def fail(self, connection: Connection, claim: Claim, *, error: str, retry_at: float) -> None:
        """The run failed: try again at `retry_at`, unless somebody asks for it earlier."""
        values = {"attempts": claim.attempts + 1, "last_error": error, "due_at": retry_at}
        self._as_holder(connection, claim, {**values, "lease_holder": None, "lease_until": None})

    def forget(self, connection: Connection, claim: Claim) -> None:
        """The entity exists no more. Only for identifiers that are never used again: its epoch is gone too."""
        done = connection.execute(delete(self._table).where(self._is(claim.entity), self._table.c.epoch == claim.epoch))
        if not done.rowcount:
            raise self._lost(claim)

    def release(self, connection: Connection, claim: Claim) -> None:
        """Give the entity back unfinished, because the worker was told to stop: another may take it at once."""
        self._as_holder(connection, claim, {"lease_holder": None, "lease_until": None})

    def requested(self, connection: Connection, kind: str) -> dict[str, int]:
        """How often each entity of a kind was asked for: what grows was asked for meanwhile."""
        table = self._table
        rows = connection.execute(select(table.c.entity_id, table.c.requested).where(table.c.kind == kind))
        return {row.entity_id: row.requested for row in rows}

    def in_hand(self, connection: Connection, kind: str, entity_ids: Sequence[str]) -> list[str]:
        """Those of these entities that are due or waiting, or that somebody works on."""
        table = self._table
        busy = or_(table.c.requested > table.c.done, table.c.lease_holder.is_not(None))
        query = select(table.c.entity_id).where(table.c.kind == kind, table.c.entity_id.in_(entity_ids), busy)
        return list(connection.execute(query).scalars())

    def release_all(self, connection: Connection, holder: str) -> None:
        """Give up what a holder of this name left behind when it died, so that no lease need run out first."""
        table = self._table
        connection.execute(
            update(table).where(table.c.lease_holder == holder).values(lease_holder=None, lease_until=None)
        )

    def _as_holder(self, connection: Connection, claim: Claim, values: dict[str, object]) -> None:
        table = self._table
        done = connection.execute(
            update(table).where(self._is(claim.entity), table.c.epoch == claim.epoch).values(values)
        )
        if not done.rowcount:
            raise self._lost(claim)

    def _is(self, entity: Entity) -> ColumnElement[bool]:
        return and_(self._table.c.kind == entity.kind, self._table.c.entity_id == entity.id)

    def _free(self, now: float) -> ColumnElement[bool]:
        return or_(self._table.c.lease_until.is_(None), self._table.c.lease_until <= now)

    @staticmethod
    def _lost(claim: Claim) -> LeaseLost:
        return LeaseLost(
            f"Another worker took over {claim.entity.kind} {claim.entity.id} after epoch {claim.epoch}: this run stops."
        )
