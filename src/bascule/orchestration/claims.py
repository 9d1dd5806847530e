"""Claims on entities, and what their holders do with them: keep, check, end or give back.

A lease that is not renewed in time can be claimed by another worker, with a later epoch; whatever the late worker then
says of its claim is refused (`LeaseLost`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, func, select, update

from bascule.model.errors import LeaseLost
from bascule.orchestration.tables import OrchestrationTables

CHANNEL = "bascule_queue"  # of PostgreSQL's NOTIFY: there is work


@dataclass(frozen=True, slots=True)
class Entity:
    """What is reconciled: a kind the application names (64 characters at most), and an identifier (36 at most)."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease on one entity. `requested` is the number this run answers; `attempts` the failures before it.

    `paged` says that a human was told of these failures.
    """

    entity: Entity
    holder: str
    epoch: int
    requested: int
    attempts: int
    lease_until: float
    reasons: tuple[str, ...]
    tenant: str = ""
    paged: bool = False


class Claims:
    """All methods work inside the caller's transaction; `now` is seconds since the epoch."""

    def __init__(self, tables: OrchestrationTables) -> None:
        self._table = table = tables.reconciliations
        # Built once: workers ask these all the time.
        self._epoch = select(table.c.epoch).where(is_named(table))
        self._held = self._epoch.with_for_update()

    def renew(self, connection: Connection, claim: Claim, *, now: float, lease: float) -> None:
        """Keep the lease. Raises LeaseLost when another worker has claimed the entity."""
        self._as_holder(connection, claim, {"lease_until": now + lease})

    def check(self, connection: Connection, claim: Claim) -> None:
        """Raises LeaseLost when another worker has claimed the entity; also used inside a step's own transaction."""
        row = connection.execute(self._epoch, names_of(claim.entity)).one_or_none()
        if row is None or row.epoch != claim.epoch:
            raise self._lost(claim)

    def hold(self, connection: Connection, claim: Claim) -> None:
        """Like `check`, and nobody takes the entity over before the transaction ends: its last words."""
        row = connection.execute(self._held, names_of(claim.entity)).one_or_none()
        if row is None or row.epoch != claim.epoch:
            raise self._lost(claim)

    def last_error(self, connection: Connection, claim: Claim) -> str:
        """What went wrong last; empty when nothing did."""
        found = connection.execute(select(self._table.c.last_error).where(is_entity(self._table, claim.entity)))
        return found.scalar_one_or_none() or ""

    def complete(self, connection: Connection, claim: Claim) -> None:
        """The run succeeded. A request that came meanwhile stays due."""
        values = {"done": claim.requested, "attempts": 0, "last_error": "", "paged_at": None}
        self._as_holder(connection, claim, {**values, "lease_holder": None, "lease_until": None})

    def fail(
        self, connection: Connection, claim: Claim, *, error: str, retry_at: float, paged_at: float | None = None
    ) -> None:
        """The run failed: try again at `retry_at`, unless somebody asks for it earlier.

        `paged_at` is when a human was told of it, if that was now.
        """
        values: dict[str, object] = {"attempts": claim.attempts + 1, "last_error": error, "due_at": retry_at}
        if paged_at is not None:
            values["paged_at"] = paged_at
        self._as_holder(connection, claim, {**values, "lease_holder": None, "lease_until": None})

    def postpone(self, connection: Connection, claim: Claim, *, reason: str, until: float) -> None:
        """The run was called off: try again at `until`, unless somebody asks for it earlier. That is no failure."""
        values = {"last_error": reason, "due_at": until}
        self._as_holder(connection, claim, {**values, "lease_holder": None, "lease_until": None})

    def forget(self, connection: Connection, claim: Claim) -> None:
        """The entity exists no more. Only for identifiers that are never used again: its epoch is gone too."""
        table = self._table
        done = connection.execute(delete(table).where(is_entity(table, claim.entity), table.c.epoch == claim.epoch))
        if not done.rowcount:
            raise self._lost(claim)

    def release(self, connection: Connection, claim: Claim) -> None:
        """Give the entity back unfinished, because the worker was told to stop: another may take it at once."""
        self._as_holder(connection, claim, {"lease_holder": None, "lease_until": None})
        notify(connection)

    def release_all(self, connection: Connection, holder: str) -> None:
        """Give up what a holder of this name left behind when it died, so that no lease need run out first."""
        table = self._table
        connection.execute(
            update(table).where(table.c.lease_holder == holder).values(lease_holder=None, lease_until=None)
        )

    def _as_holder(self, connection: Connection, claim: Claim, values: dict[str, object]) -> None:
        table = self._table
        # The holder too: a heartbeat that comes after the run's end must not take the lease again.
        mine = and_(table.c.epoch == claim.epoch, table.c.lease_holder == claim.holder)
        done = connection.execute(update(table).where(is_entity(table, claim.entity), mine).values(values))
        if not done.rowcount:
            raise self._lost(claim)

    @staticmethod
    def _lost(claim: Claim) -> LeaseLost:
        return LeaseLost(
            f"Another worker took over {claim.entity.kind} {claim.entity.id} after epoch {claim.epoch}: this run stops."
        )


def is_entity(table: Table, entity: Entity) -> ColumnElement[bool]:
    """Whether a row is this entity's."""
    return and_(table.c.kind == entity.kind, table.c.entity_id == entity.id)


def is_named(table: Table) -> ColumnElement[bool]:
    """Whether a row is that of the entity which `names_of` names when the statement is executed."""
    return and_(table.c.kind == bindparam("of_kind"), table.c.entity_id == bindparam("of_id"))


def names_of(entity: Entity) -> dict[str, str]:
    """The parameters of `is_named`."""
    return {"of_kind": entity.kind, "of_id": entity.id}


def notify(connection: Connection) -> None:
    """Wake idle workers when this transaction is committed; on SQLite they look often enough."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, "")))
