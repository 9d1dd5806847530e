"""What tests of every level share: the databases they run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, settings

from bascule.store.database import migrate, open_database
from tests.postgresql import PostgreSQLServer, programs

BOTH = ("sqlite", "postgresql")

# `explain` traces every line of a failing example's runs, which takes minutes where a second does. What CI draws is the
# same in every run, so that a change is not blamed for a case that another one would have met as well.
settings.register_profile(
    "bascule", deadline=None, derandomize="CI" in os.environ, phases=tuple(set(Phase) - {Phase.explain})
)
settings.load_profile("bascule")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """One PostgreSQL server for all tests of this process."""
    binaries = programs()
    if binaries is None:
        pytest.skip("needs Debian's package postgresql (make setup installs it)")
    server = PostgreSQLServer(binaries)
    yield server
    server.remove()


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database with every table: the same test runs on SQLite and on PostgreSQL."""
    with new_database(request, tmp_path) as url:
        yield url


@pytest.fixture(params=BOTH)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database without any table."""
    with new_database(request, tmp_path, migrated=False) as url:
        yield url


@contextmanager
def new_database(request: pytest.FixtureRequest, folder: Path, *, migrated: bool = True) -> Iterator[str]:
    """The URL of a database of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        yield migrated_sqlite(folder) if migrated else f"sqlite:///{folder / 'bascule.db'}"
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql")
    url = server.create_database(migrated=migrated)
    yield url
    server.drop_database(url)


def migrated_sqlite(folder: Path) -> str:
    """The URL of a new SQLite database with every table."""
    file = folder / "bascule.db"
    file.write_bytes(_sqlite_template())
    return f"sqlite:///{file}"


@cache
def _sqlite_template() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "template.db"
        engine = open_database(f"sqlite:///{file}")
        migrate(engine)
        engine.dispose()
        return file.read_bytes()
