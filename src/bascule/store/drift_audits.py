"""Audits that operators ask for, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import NotFound
from bascule.store import tables

_TABLE = tables.drift_audits


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """`node_ids` are those to judge, none for all. Times are seconds since the epoch; `ended_at` is None until it is
    done, and the moment of which its findings are. `unsettled` load balancers were being changed and not judged.
    """

    id: UUID
    node_ids: tuple[UUID, ...]
    requested_at: float
    ended_at: float | None = None
    answered: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    unsettled: int = 0


def ask(connection: Connection, node_ids: Sequence[UUID], *, now: float) -> AuditRow:
    """Have some orchestrator do it."""
    row = AuditRow(id=uuid4(), node_ids=tuple(node_ids), requested_at=now)
    connection.execute(
        sql_insert(_TABLE).values(
            id=str(row.id),
            node_ids=[str(each) for each in node_ids],
            requested_at=now,
            answered=[],
            silent=[],
            unsettled=0,
        )
    )
    return row


def get(connection: Connection, audit_id: UUID) -> AuditRow:
    """One audit. Raises NotFound."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(audit_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no audit {audit_id}: ask for one (old ones are forgotten).")
    return _noun(row)


def waiting(connection: Connection, *, now: float) -> AuditRow | None:
    """The one asked for first of those that nobody does."""
    row = connection.execute(select(_TABLE).where(_free(now)).order_by(_TABLE.c.requested_at).limit(1)).first()
    return None if row is None else _noun(row)


def claim(connection: Connection, audit_id: UUID, *, now: float, until: float) -> bool:
    """Whether it is the caller's to do; nobody else takes it before `until`, when the caller has died."""
    statement = sql_update(_TABLE).where(_TABLE.c.id == str(audit_id), _free(now)).values(claimed_until=until)
    return bool(connection.execute(statement).rowcount)


def end(connection: Connection, row: AuditRow) -> None:
    """Write what became of it."""
    values = {
        "ended_at": row.ended_at,
        "answered": list(row.answered),
        "silent": list(row.silent),
        "unsettled": row.unsettled,
    }
    connection.execute(sql_update(_TABLE).where(_TABLE.c.id == str(row.id)).values(values))


def forget(connection: Connection, *, before: float) -> None:
    """Forget those that were asked for before then."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.requested_at < before))


def _free(now: float) -> Any:
    claimed = _TABLE.c.claimed_until
    return _TABLE.c.ended_at.is_(None) & or_(claimed.is_(None), claimed < now)


def _noun(row: Row[Any]) -> AuditRow:
    return AuditRow(
        id=UUID(row.id),
        node_ids=tuple(map(UUID, row.node_ids)),
        requested_at=row.requested_at,
        ended_at=row.ended_at,
        answered=tuple(row.answered),
        silent=tuple(row.silent),
        unsettled=row.unsettled,
    )
