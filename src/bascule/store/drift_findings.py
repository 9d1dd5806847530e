"""Where nodes differed from the expected state, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import Taken
from bascule.store import tables
from bascule.store.violations import refused_when_taken

_TABLE = tables.drift_findings


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRow:
    """Times are seconds since the epoch; `resolved_at` is None while it lasts."""

    id: UUID
    kind: str
    node_id: UUID
    node: str
    load_balancer_id: UUID
    words: str
    first_seen: float
    last_seen: float
    resolved_at: float | None


def lasting(connection: Connection) -> dict[str, DriftRow]:
    """Those that last, by the key under which they were added."""
    rows = connection.execute(select(_TABLE).where(_TABLE.c.open_key.is_not(None)))
    return {row.open_key: _noun(row) for row in rows}


def latest(connection: Connection, *, resolved: bool, limit: int) -> list[DriftRow]:
    """The newest first: those that last, and with `resolved` those that are over too."""
    query = select(_TABLE).order_by(_TABLE.c.last_seen.desc(), _TABLE.c.node, _TABLE.c.id).limit(limit)
    if not resolved:
        query = query.where(_TABLE.c.open_key.is_not(None))
    return [_noun(row) for row in connection.execute(query)]


def seen_at(connection: Connection, at: float, node_ids: Collection[UUID]) -> list[DriftRow]:
    """What the audit of that moment found on these nodes, or on all without any."""
    query = (
        select(_TABLE).where(_TABLE.c.first_seen <= at, _TABLE.c.last_seen >= at).order_by(_TABLE.c.node, _TABLE.c.id)
    )
    if node_ids:
        query = query.where(_TABLE.c.node_id.in_([str(each) for each in node_ids]))
    return [_noun(row) for row in connection.execute(query)]


def began_since(connection: Connection, since: float) -> list[tuple[tuple[UUID, UUID], float]]:
    """The node and load balancer of every finding that began after then, with when it did."""
    query = select(_TABLE.c.node_id, _TABLE.c.load_balancer_id, _TABLE.c.first_seen).where(_TABLE.c.first_seen > since)
    return [((UUID(node), UUID(balancer)), at) for node, balancer, at in connection.execute(query)]


def lasting_since(connection: Connection, since: float) -> set[tuple[UUID, UUID]]:
    """The nodes and load balancers where a finding lasts, or lasted until after then."""
    resolved = _TABLE.c.resolved_at
    query = select(_TABLE.c.node_id, _TABLE.c.load_balancer_id).where(or_(resolved.is_(None), resolved > since))
    return {(UUID(node), UUID(balancer)) for node, balancer in connection.execute(query)}


def add(connection: Connection, findings: Mapping[str, Mapping[str, object]], *, now: float) -> None:
    """Add each under its key. Raises Taken when another process did so at this moment."""
    values = [
        {"id": str(uuid4()), "open_key": key, "first_seen": now, "last_seen": now, "resolved_at": None, **fields}
        for key, fields in findings.items()
    ]
    if values:
        with refused_when_taken(Taken("Another orchestrator recorded this drift just now: nothing is to be done.")):
            connection.execute(sql_insert(_TABLE), values)


def see_again(connection: Connection, key: str, words: str, *, now: float) -> None:
    """It still lasts."""
    connection.execute(sql_update(_TABLE).where(_TABLE.c.open_key == key).values(words=words, last_seen=now))


def resolve(connection: Connection, keys: Iterable[str], *, now: float) -> None:
    """These are over."""
    for key in keys:
        connection.execute(sql_update(_TABLE).where(_TABLE.c.open_key == key).values(open_key=None, resolved_at=now))


def forget(connection: Connection, *, before: float) -> None:
    """Forget those that were over before then."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.resolved_at < before))


def _noun(row: Row[Any]) -> DriftRow:
    return DriftRow(
        id=UUID(row.id),
        kind=row.kind,
        node_id=UUID(row.node_id),
        node=row.node,
        load_balancer_id=UUID(row.load_balancer_id),
        words=row.words,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        resolved_at=row.resolved_at,
    )
