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
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from bascule.model.errors import InvalidInput, SystemFailure, Unavailable

log = structlog.stdlib.get_logger(__name__)
_BUSY_TIMEOUT_MS = 10_000


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///path` (WAL) or `postgresql+psycopg://…`; creates a missing SQLite directory.

    Raises InvalidInput for a URL nobody can read, and SystemFailure when the directory cannot be made.
    """
    try:
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        engine = create_engine(parsed, pool_pre_ping=not is_sqlite)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise InvalidInput(
            f"BASCULE_DATABASE_URL cannot be used ({error}): write sqlite:////path/to/bascule.db.",
            field="BASCULE_DATABASE_URL",
        ) from error
    if is_sqlite:
        _make_room(parsed.database)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _make_room(path: str | None) -> None:
    """The directory of the file; none for a database in memory."""
    if not path or path == ":memory:":
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemFailure(
            f"Cannot make the directory of {path}: {error.strerror}. Check BASCULE_DATABASE_URL."
        ) from error


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
        with _answering(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it never waits for a writer."""
        reading = {"bascule_reads": True}
        with _answering(), self.engine.connect().execution_options(**reading) as connection, connection.begin():
            yield connection


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the driver's refusals into Unavailable; violated constraints and our own mistakes pass through."""
    try:
        yield
    except DatabaseError as error:
        # OperationalError: away, locked, full. DatabaseError itself: SQLite says so of a file that is no database.
        if not isinstance(error, OperationalError) and type(error) is not DatabaseError:
            raise
        # The driver's words may tell of hosts and files: they are for the log, not for whoever asked.
        log.warning("database does not answer", error=str(error.orig))
        raise Unavailable("The database does not answer: nothing was changed, try again.") from error


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest migration. Safe to call from several processes at once: one goes first.

    Raises Unavailable when the database does not answer.
    """
    config = Config()
    config.set_main_option("script_location", "bascule.store:migrations")
    config.set_main_option("path_separator", "os")
    with Database(engine).write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
