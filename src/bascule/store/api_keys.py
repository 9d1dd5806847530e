"""API keys, read and written inside the caller's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert

from bascule.model.api_keys import ApiKey
from bascule.model.errors import NotFound
from bascule.store import tables
from bascule.store.times import from_seconds

_TABLE = tables.api_keys


def insert(connection: Connection, api_key: ApiKey) -> None:
    """Add the row."""
    connection.execute(
        sql_insert(_TABLE).values(
            key=api_key.key, name=api_key.name, secret=api_key.secret, created_at=api_key.created_at.timestamp()
        )
    )


def find(connection: Connection, key: str) -> ApiKey | None:
    """The API key, or None when it is unknown."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.key == key)).one_or_none()
    return None if row is None else _noun(row)


def list_all(connection: Connection) -> list[ApiKey]:
    """Every API key, oldest first."""
    return [_noun(row) for row in connection.execute(select(_TABLE).order_by(_TABLE.c.created_at, _TABLE.c.key))]


def delete(connection: Connection, key: str) -> None:
    """Remove the row: requests signed with it are refused from now on. Raises NotFound."""
    if not connection.execute(sql_delete(_TABLE).where(_TABLE.c.key == key)).rowcount:
        raise NotFound(f"There is no API key {key}: list them to find the one you mean.")


def _noun(row: Row[Any]) -> ApiKey:
    return ApiKey(key=row.key, name=row.name, secret=row.secret, created_at=from_seconds(row.created_at))
