"""A PostgreSQL server of the tests' own: its data in a temporary directory, reached by a socket in there only."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from bascule.lab.servers import (
    POSTGRESQL_USER,
    make_postgresql,
    postgresql_answers,
    postgresql_command,
    postgresql_url,
)
from bascule.store.database import migrate, open_database

_TEMPLATE = "migrated"


class PostgreSQLServer:
    """A server that can be stopped and started again. Raises AssertionError when it does not start."""

    def __init__(self) -> None:
        # Its user must be able to pass through to what is its own.
        self._outer = Path(tempfile.mkdtemp(prefix="bascule-postgresql-"))
        self._outer.chmod(0o711)
        self._folder = self._outer / "server"
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        make_postgresql(self._folder)
        self.start()
        self._make_template()

    def start(self) -> None:
        """Start, and return when it takes connections."""
        with (self._outer / "log").open("ab") as log:
            command = postgresql_command(self._folder, dies_with_parent=True)
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not postgresql_answers(self._folder):
            assert self._process.poll() is None, (self._outer / "log").read_text()
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
        shutil.rmtree(self._outer)

    def create_database(self, *, migrated: bool = True) -> str:
        """A database of its own, with every table or without any; returns its URL."""
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template0'}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove one, whoever is connected."""
        self._run(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def url(self, name: str) -> str:
        """The URL of a database, as BASCULE_DATABASE_URL takes it."""
        return postgresql_url(self._folder, name)

    def _make_template(self) -> None:
        self._run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        engine = open_database(self.url(_TEMPLATE))
        migrate(engine)
        engine.dispose()

    def _run(self, statement: str) -> None:
        user = POSTGRESQL_USER
        with psycopg.connect(host=str(self._folder), user=user, dbname=user, autocommit=True) as connection:
            connection.execute(statement.encode())
