"""A database in which every change is undone: a route runs against it, and what it wrote is looked at before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing import rehearsal
from bascule.balancing.rehearsal import Rows
from bascule.store import changes
from bascule.store.database import Database

AT_MOST = 20  # load balancers that are looked at closely: nobody else can write meanwhile (SQLite)


class RolledBack(Exception):
    """Ends the route that was rehearsed."""


class RehearsalDatabase(Database):
    """`touched` are the load balancers that the change asks to reconcile, `after` the rows of the first of them."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine)
        with self.read() as connection:
            self._requested = changes.requested(connection)
        self.touched: list[UUID] = []
        self.after: Rows | None = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is always rolled back. Raises RolledBack when the change itself would have worked."""
        with super().write() as connection:
            yield connection
            now = changes.requested(connection)
            self.touched = sorted(each for each in now if now[each] != self._requested.get(each))
            self.after = rehearsal.read(connection, self.touched[:AT_MOST])
            raise RolledBack
