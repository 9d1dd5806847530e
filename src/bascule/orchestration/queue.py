"""The queue: one row per entity, so that an entity is never reconciled twice at once and many requests make one run.

A request raises the row's `requested` number; a claim takes a lease and a new epoch; completing compares numbers: when
a request came during the run, the entity stays due and runs exactly once more. A lease that is not renewed in time can
be claimed by another worker, with a later epoch, and the late worker's completion is refused (`LeaseLost`).

Within a priority tenants are served in turn: a claim names the tenant that its worker served last and gets the next one
by name, so that one with a thousand entities does not hold up one with a single entity.

Locks: a transaction that changes other rows as well touches the queue's row last, and several of these by name: so
nobody waits for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    case,
    false,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from bascule.orchestration.claims import Claim, Claims, Entity, is_entity, is_named, names_of, notify
from bascule.orchestration.tables import OrchestrationTables

REASONS_KEPT = 8


class Priority(IntEnum):
    """Lower runs first."""

    USER = 0
    OPERATOR = 10
    EVENT = 20
    PERIODIC = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One entity that is due. `untouched`: nothing failed since it was well, and nobody died over it."""

    entity: Entity
    priority: Priority
    requested: int
    epoch: int
    untouched: bool


class Queue:
    """All methods work inside the caller's transaction; `now` is seconds since the epoch.

    `claims` is for whoever holds one. `kinds` are those it claims, all by default: applications that share a database
    leave each other's alone.
    """

    def __init__(self, tables: OrchestrationTables, kinds: Collection[str] | None = None) -> None:
        self._table = table = tables.reconciliations
        self.claims = Claims(tables)
        # A case, not a comparison: planners would think it rare, look in the key's index and sort all that is due.
        mine = case((table.c.kind.in_(sorted(kinds or ())), true()), else_=false())
        self._mine = [] if kinds is None else [mine]
        # Built once: workers ask these all the time.
        named = is_named(table)
        order = (table.c.priority, table.c.tenant, table.c.due_at)
        first = self._due(table).order_by(*order).limit(1)
        most_urgent = self._due(table.c.priority).order_by(table.c.priority).limit(1).scalar_subquery()
        later = first.where(table.c.priority == most_urgent, table.c.tenant > bindparam("after"))
        self._window = self._due(table).order_by(*order).limit(bindparam("at_most", type_=Integer()))
        # Somebody asked again, or claimed it: no longer the row that was read.
        as_read = and_(table.c.requested == bindparam("as_requested"), table.c.epoch == bindparam("at_epoch"))
        over: dict[str, Any] = {"done": bindparam("as_requested"), "last_error": "", "paged_at": None}
        self._end = update(table).where(named, as_read, table.c.lease_holder.is_(None)).values(over)
        named_so = table.c.entity_id.in_(bindparam("of_ids", expanding=True))
        busy = or_(table.c.requested > table.c.done, table.c.lease_holder.is_not(None))
        self._in_hand = select(table.c.entity_id).where(table.c.kind == bindparam("of_kind"), named_so, busy)
        self._first, self._later = (each.with_for_update(skip_locked=True) for each in (first, later))

    def request(
        self,
        connection: Connection,
        entity: Entity,
        *,
        priority: Priority,
        reason: str,
        now: float,
        delay: float = 0.0,
        tenant: str | None = None,
    ) -> None:
        """Ask for a reconciliation: at once, or after `delay` seconds when nobody wants it earlier.

        An entity that waits after a failure keeps waiting, unless a user or an operator asks. `tenant` is whose it is;
        None leaves it as it was ("" at first).
        """
        if delay <= 0:
            notify(connection)
        whose = {} if tenant is None else {"tenant": tenant}
        first = {"priority": priority, "requested": 1, "due_at": now + delay, "reasons": [reason], **whose}
        locked = select(self._table).where(is_entity(self._table, entity)).with_for_update()
        while True:
            row = connection.execute(locked).one_or_none()
            if row is not None:
                self._ask_again(connection, entity, row, priority=priority, reason=reason, due_at=now + delay)
                if whose and row.tenant != tenant:
                    connection.execute(update(self._table).where(is_entity(self._table, entity)).values(whose))
                return
            if self._add(connection, entity, first):
                return

    def _add(self, connection: Connection, entity: Entity, values: dict[str, object]) -> bool:
        """Whether the row is ours; another transaction may have added it first."""
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
        row = {"kind": entity.kind, "entity_id": entity.id, **values}
        added = insert(self._table).values(row).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        return connection.execute(added).rowcount == 1

    def _ask_again(
        self, connection: Connection, entity: Entity, row: Row[Any], *, priority: Priority, reason: str, due_at: float
    ) -> None:
        waiting = row.requested > row.done
        backing_off = waiting and row.attempts > 0 and priority > Priority.OPERATOR
        earliest = row.due_at if backing_off else min(row.due_at, due_at)
        reasons = [*row.reasons, reason] if waiting else [reason]
        connection.execute(
            update(self._table)
            .where(is_entity(self._table, entity))
            .values(
                requested=row.requested + 1,
                priority=min(row.priority, priority) if waiting else priority,
                due_at=earliest if waiting else due_at,
                reasons=list(dict.fromkeys(reasons))[-REASONS_KEPT:],
            )
        )

    def claim(
        self, connection: Connection, *, holder: str, now: float, lease: float, after: str | None = None
    ) -> Claim | None:
        """Take the most urgent entity that is due and that nobody works on; None when there is none.

        Of several tenants' it is the next one's after the tenant `after`, by name.
        """
        row = self._next(connection, now, after)
        if row is None:
            return None
        entity = Entity(row.kind, row.entity_id)
        connection.execute(
            update(self._table)
            .where(is_entity(self._table, entity))
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
            tenant=row.tenant,
            paged=row.paged_at is not None,
        )

    def _next(self, connection: Connection, now: float, after: str | None) -> Row[Any] | None:
        """Both questions are answered by the first entry of the index that is due, however many are waiting."""
        if after is not None:
            row = connection.execute(self._later, {"now": now, "after": after}).one_or_none()
            if row is not None:
                return row
        return connection.execute(self._first, {"now": now}).one_or_none()

    def _due(self, what: Any) -> Select[Any]:
        table, now = self._table, bindparam("now", type_=Float())
        return select(what).where(table.c.requested > table.c.done, table.c.due_at <= now, self._free(), *self._mine)

    def due(self, connection: Connection, *, now: float, at_most: int) -> list[Due]:
        """The most urgent entities that are due and that nobody works on. Nothing is claimed."""
        rows = connection.execute(self._window, {"now": now, "at_most": at_most})
        return [
            Due(
                entity=Entity(row.kind, row.entity_id),
                priority=Priority(row.priority),
                requested=row.requested,
                epoch=row.epoch,
                untouched=row.lease_holder is None and row.attempts == 0,
            )
            for row in rows
        ]

    def end(self, connection: Connection, ended: Sequence[Due]) -> None:
        """These need no run. Whatever was claimed or asked for since it was read stays as it is."""
        rows = sorted(ended, key=lambda each: (each.entity.kind, each.entity.id))
        numbers = [{"as_requested": each.requested, "at_epoch": each.epoch, **names_of(each.entity)} for each in rows]
        connection.execute(self._end, numbers)

    def requested(self, connection: Connection, kind: str) -> dict[str, int]:
        """How often each entity of a kind was asked for: what grows was asked for meanwhile."""
        table = self._table
        rows = connection.execute(select(table.c.entity_id, table.c.requested).where(table.c.kind == kind))
        return {row.entity_id: row.requested for row in rows}

    def in_hand(self, connection: Connection, kind: str, entity_ids: Sequence[str]) -> list[str]:
        """Those of these entities that are due or waiting, or that somebody works on."""
        return list(connection.execute(self._in_hand, {"of_kind": kind, "of_ids": list(entity_ids)}).scalars())

    def _free(self) -> ColumnElement[bool]:
        until = self._table.c.lease_until
        return or_(until.is_(None), until <= bindparam("now", type_=Float()))
