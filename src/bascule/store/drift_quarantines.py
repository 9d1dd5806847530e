"""Load balancers on nodes for which drift asks for no reconciliation, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import NotFound, Taken
from bascule.store import tables
from bascule.store.violations import refused_when_taken

_TABLE = tables.drift_quarantines
_Place = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """Times are seconds since the epoch; `released_at` is None while it lasts."""

    id: UUID
    node_id: UUID
    node: str
    load_balancer_id: UUID
    reason: str
    since: float
    released_at: float | None = None

    @property
    def place(self) -> _Place:
        """The node, and the load balancer on it."""
        return self.node_id, self.load_balancer_id


def lasting(connection: Connection) -> list[QuarantineRow]:
    """Those that last, the newest first."""
    query = select(_TABLE).where(_TABLE.c.released_at.is_(None)).order_by(_TABLE.c.since.desc(), _TABLE.c.id)
    return [_noun(row) for row in connection.execute(query)]


def released_since(connection: Connection, since: float) -> dict[_Place, float]:
    """When places were last released, if that was later than then."""
    columns = (_TABLE.c.node_id, _TABLE.c.load_balancer_id)
    query = select(*columns, func.max(_TABLE.c.released_at)).where(_TABLE.c.released_at > since).group_by(*columns)
    return {(UUID(node), UUID(balancer)): at for node, balancer, at in connection.execute(query)}


def add(connection: Connection, rows: Iterable[QuarantineRow]) -> None:
    """Add them. Raises Taken when another process did so at this moment."""
    values = [
        {
            "id": str(row.id),
            "open_key": _key(row.place),
            "node_id": str(row.node_id),
            "node": row.node,
            "load_balancer_id": str(row.load_balancer_id),
            "reason": row.reason,
            "since": row.since,
            "released_at": None,
        }
        for row in rows
    ]
    if values:
        with refused_when_taken(Taken("Another orchestrator did this just now: nothing is to be done.")):
            connection.execute(sql_insert(_TABLE), values)


def new(node_id: UUID, node: str, load_balancer_id: UUID, reason: str, *, now: float) -> QuarantineRow:
    """One that begins."""
    return QuarantineRow(
        id=uuid4(), node_id=node_id, node=node, load_balancer_id=load_balancer_id, reason=reason, since=now
    )


def release(connection: Connection, quarantine_id: UUID, *, now: float) -> QuarantineRow:
    """End one; ending it twice is ending it once. Raises NotFound."""
    mine = (_TABLE.c.id == str(quarantine_id)) & _TABLE.c.released_at.is_(None)
    connection.execute(sql_update(_TABLE).where(mine).values(released_at=now))
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(quarantine_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no quarantine {quarantine_id}: list them to find the one you mean.")
    return _noun(row)


def close_released(connection: Connection) -> bool:
    """Let what was released come again; True when something was released since the last time."""
    released = _TABLE.c.open_key.is_not(None) & _TABLE.c.released_at.is_not(None)
    return bool(connection.execute(sql_update(_TABLE).where(released).values(open_key=None)).rowcount)


def forget(connection: Connection, *, before: float) -> None:
    """Forget those that were over before then."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.released_at < before))


def _key(place: _Place) -> str:
    return f"{place[0]}/{place[1]}"


def _noun(row: Row[Any]) -> QuarantineRow:
    return QuarantineRow(
        id=UUID(row.id),
        node_id=UUID(row.node_id),
        node=row.node,
        load_balancer_id=UUID(row.load_balancer_id),
        reason=row.reason,
        since=row.since,
        released_at=row.released_at,
    )
