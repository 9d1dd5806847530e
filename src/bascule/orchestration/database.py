"""Open a database of an application, and its transactions.

One writer at a time is SQLite's rule: transactions that write begin as IMMEDIATE (PRAGMA and BEGIN below), so that two
processes queue up for it instead of failing half way. On PostgreSQL writers meet only at the rows they lock. On both a
transaction that reads sees one moment of the database, waits for nobody and holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bascule.model.errors import Conflict, InvalidInput, SystemFailure, Unavailable

log = structlog.stdlib.get_logger(__name__)
_BUSY_TIMEOUT_MS = 10_000
TABLES_LOCK = 0x62617363756C65  # a number of our own for PostgreSQL's advisory locks ("bascule")
# A database that went away without a word must not hold a heartbeat longer than a lease: libpq's parameters, seconds
# but for tcp_user_timeout (milliseconds). What the URL says goes first.
_PATIENCE = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_PATIENCE |= {"tcp_user_timeout": 10_000}


def open_database(url: str, *, setting: str = "the database's URL") -> Engine:
    """An engine for `sqlite:///path` (WAL) or `postgresql+psycopg://…`; creates a missing SQLite directory.

    Raises InvalidInput for a URL nobody can read, and SystemFailure when the directory cannot be made; their sentences
    name `setting`, where the user wrote it.
    """
    try:
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        engine = create_engine(parsed) if is_sqlite else _postgresql(parsed)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise InvalidInput(
            f"{setting} cannot be used ({error}): write sqlite:////path/to/bascule.db"
            " or postgresql+psycopg://user:password@host/name.",
            field=setting,
        ) from error
    if is_sqlite:
        _make_room(parsed.database, setting)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _postgresql(url: URL) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise ArgumentError(f"{url.get_backend_name()} is not SQLite or PostgreSQL")
    patience = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    # As many connections as the API has threads; five of them are kept.
    return create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=35, connect_args=patience)


def _make_room(path: str | None, setting: str) -> None:
    """The directory of the file; none for a database in memory."""
    if not path or path == ":memory:":
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemFailure(f"Cannot make the directory of {path}: {error.strerror}. Check {setting}.") from error


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
    """Transactions over an engine.

    Raises Unavailable when the database does not answer, and Conflict when it refuses rows because of what another
    writer added meanwhile.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back by an exception."""
        with _answering(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: all of it sees one moment, and it never waits for a writer."""
        reading: dict[str, Any] = {"bascule_reads": True}
        if self.engine.dialect.name == "postgresql":
            reading |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with _answering(), self.engine.connect() as connection:
            connection.execution_options(**reading)
            with connection.begin():
                yield connection


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the driver's refusals into our errors; our own mistakes pass through.

    Only writers that met leave a constraint violated: one alone sees at the edge what it may not write.
    """
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("The database is busy: nothing was changed, try again.") from error
    except IntegrityError as error:
        log.warning("met another writer", error=str(error.orig))
        raise Conflict(
            "Somebody changed the same at the same moment: nothing was changed, look and try again."
        ) from error
    except DatabaseError as error:
        # OperationalError: away, locked, full. DatabaseError itself: SQLite says so of a file that is no database.
        # What is an OperationalError to SQLite, a table that is missing, has a code of its own in PostgreSQL.
        no_table = getattr(error.orig, "sqlstate", None) == "42P01"
        if not isinstance(error, OperationalError) and type(error) is not DatabaseError and not no_table:
            raise
        # The driver's words may tell of hosts and files: they are for the log, not for whoever asked.
        log.warning("database does not answer", error=str(error.orig))
        raise Unavailable("The database does not answer: nothing was changed, try again.") from error


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Make the tables that are missing, for an application without migrations. Processes that start at once take turns.

    Tables that are there stay as they are. Raises Unavailable when the database does not answer.
    """
    with Database(engine).write() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
        metadata.create_all(connection)
