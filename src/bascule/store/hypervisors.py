"""Hypervisors, read and written inside the caller's transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import NotFound, Taken
from bascule.model.nodes import Agent, Hypervisor
from bascule.store import tables
from bascule.store.violations import refused_when_taken

_TABLE = tables.hypervisors
_ALL = select(_TABLE).order_by(_TABLE.c.name)


def insert(connection: Connection, hypervisor: Hypervisor) -> None:
    """Add the row. Raises Taken when another hypervisor has the name."""
    with refused_when_taken(_name_taken(hypervisor)):
        connection.execute(sql_insert(_TABLE).values(id=str(hypervisor.id), **_values(hypervisor)))


def list_all(connection: Connection) -> list[Hypervisor]:
    """Every hypervisor, by name."""
    return [_noun(row) for row in connection.execute(_ALL)]


def get(connection: Connection, hypervisor_id: UUID) -> Hypervisor:
    """One hypervisor. Raises NotFound."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(hypervisor_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no hypervisor {hypervisor_id}: list them to find the one you mean.")
    return _noun(row)


def named(connection: Connection, name: str) -> Hypervisor | None:
    """The hypervisor of that name, None when there is none."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.name == name)).one_or_none()
    return None if row is None else _noun(row)


def lock_for_change(connection: Connection, hypervisor_id: UUID) -> Hypervisor:
    """Read it and keep other changes out until the transaction ends. Raises NotFound."""
    connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == str(hypervisor_id)).with_for_update())
    return get(connection, hypervisor_id)


def update(connection: Connection, hypervisor: Hypervisor) -> None:
    """Write everything. Raises Taken when another hypervisor has the name."""
    with refused_when_taken(_name_taken(hypervisor)):
        connection.execute(sql_update(_TABLE).where(_TABLE.c.id == str(hypervisor.id)).values(**_values(hypervisor)))


def delete(connection: Connection, hypervisor_id: UUID) -> None:
    """Remove the row. The caller has made sure that it carries no instance."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(hypervisor_id)))


def _name_taken(hypervisor: Hypervisor) -> Taken:
    return Taken(f"A hypervisor is named {hypervisor.name}: choose another name.", field="name")


def _values(hypervisor: Hypervisor) -> dict[str, object]:
    return {"name": hypervisor.name, "agent_url": hypervisor.agent.url, "agent_token": hypervisor.agent.token}


def _noun(row: Row[Any]) -> Hypervisor:
    return Hypervisor(id=UUID(row.id), name=row.name, agent=Agent(url=row.agent_url, token=row.agent_token))
