"""A PostgreSQL server of the tests' own: its data in a temporary directory, reached by a socket in there only."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from bascule.store.database import migrate, open_database

_USER = "postgres"  # the server refuses to run as root
_TEMPLATE = "migrated"
_THROW_OUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
# Only a crash of the whole machine may lose what tests wrote.
_OPTIONS = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off")


def programs() -> Path | None:
    """Where Debian's package keeps the server's programs; None when it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgreSQLServer:
    """A server that can be stopped and started again. Raises AssertionError when it does not start."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="bascule-postgresql-"))
        self._numbers = itertools.count(1)
        self._spare: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        data = ("-D", str(self._folder / "data"), "-U", _USER, "-A", "trust")
        subprocess.run(
            [*self._as_user(), str(binaries / "initdb"), *data, "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
        )
        self.start()
        self._make_template()

    def start(self) -> None:
        """Start, and return when it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as_user("--pdeathsig", "SIGQUIT"),
                    str(self._binaries / "postgres"),
                    "-D",
                    str(self._folder / "data"),
                    "-k",
                    str(self._folder),
                    *_OPTIONS,
                ],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop as if the power went: connections break at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder)

    def create_database(self, *, migrated: bool = True) -> str:
        """A database of its own, with every table or without any; returns its URL."""
        if migrated and self._spare:
            return self.url(self._spare.pop())
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template0'}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove one, whoever is connected.

        One that has the template's tables is emptied instead and kept for the next test: that takes the server a tenth
        of the work.
        """
        name = url.partition("?")[0].rpartition("/")[2]
        if self._empty(name):
            self._spare.append(name)
        else:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """The URL of a database, as BASCULE_DATABASE_URL takes it."""
        return f"postgresql+psycopg://{_USER}@/{name}?host={self._folder}"

    def _make_template(self) -> None:
        self._run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        engine = open_database(self.url(_TEMPLATE))
        migrate(engine)
        engine.dispose()
        with self._connect(_TEMPLATE) as connection:
            self._tables = _tables(connection)

    def _empty(self, name: str) -> bool:
        """Throw everybody out and delete every row; False when these are not the template's tables."""
        with self._connect(name) as connection:
            connection.execute(_THROW_OUT)
            if _tables(connection) != self._tables:
                return False
            # As a replica it asks for no order among tables that refer to each other.
            connection.execute("SET session_replication_role = replica")
            for table in sorted(self._tables - {"alembic_version"}):
                connection.execute(SQL("DELETE FROM {}").format(Identifier(table)))
        return True

    def _run(self, statement: str) -> None:
        with self._connect(_USER) as connection:
            connection.execute(statement.encode())

    def _connect(self, name: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(host=str(self._folder), user=_USER, dbname=name, autocommit=True, connect_timeout=5)

    def _answers(self) -> bool:
        try:
            self._connect(_USER).close()
        except psycopg.OperationalError:
            return False
        return True

    @staticmethod
    def _as_user(*options: str) -> list[str]:
        change = ("--reuid", _USER, "--regid", _USER, "--init-groups") if os.geteuid() == 0 else ()
        return ["setpriv", *change, *options] if change or options else []


def _tables(connection: psycopg.Connection[tuple[Any, ...]]) -> set[str]:
    return {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
