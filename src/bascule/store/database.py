"""Open the database, and bring its tables to the newest migration.

One writer at a time is SQLite's rule: transactions that write begin as IMMEDIATE (PRAGMA and BEGIN below), so that two
processes queue up for it instead of failing half way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from bascule.model.errors import Unavailable

log = structlog.stdlib.get_logger(__name__)
_BUSY_TIMEOUT_MS = 10_000


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///path` (WAL) or `postgresql+psycopg://…`; creates a missing SQLite directory."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's `begin` event below opens transactions, not the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    mode = "DEFERRED" if connection.get_execution_options().get("bascule_reads") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {mode}")


class Database:
    """Transactions over an engine. Raises Unavailable when the database does not answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back by an exception."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except OperationalError as error:
            raise _unavailable(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it never waits for a writer."""
        try:
            with self.engine.connect().execution_options(bascule_reads=True) as connection, connection.begin():
                yield connection
        except OperationalError as error:
            raise _unavailable(error) from error


def _unavailable(error: DBAPIError) -> Unavailable:
    # The driver's words may tell of hosts and files: they are for the log, not for whoever asked.
    log.warning("database does not answer", error=str(error.orig))
    return Unavailable("The database does not answer: nothing was changed, try again.")


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest migration. Safe to call from several processes at once: one goes first."""
    config = Config()
    config.set_main_option("script_location", "bascule.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
