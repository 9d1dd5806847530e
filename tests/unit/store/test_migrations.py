"""The migrations build the tables that the code describes, and go by while the previous release works."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from bascule.model.data_planes import DataPlaneName
from bascule.store import lb_nodes
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import metadata
from tests.postgresql import PostgreSQLServer

# What the release before this one ends with, and a commit of it: raise both with every release.
PREVIOUS_HEAD, PREVIOUS_COMMIT = "0001", "abaf407"
ROOT = Path(__file__).parents[3]


def migrate_to(engine: Engine, revision: str) -> None:
    """Up to one migration and no further."""
    config = Config()
    config.set_main_option("script_location", "bascule.store:migrations")
    config.set_main_option("path_separator", "os")
    with Database(engine).write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def previous_tables(engine: Engine) -> MetaData:
    """The tables as the previous release knows them, read from a database that it made."""
    migrate_to(engine, PREVIOUS_HEAD)
    found = MetaData()
    found.reflect(engine)
    found.remove(found.tables["alembic_version"])
    return found


def values(table: Table, number: int = 1) -> dict[str, Any]:
    """A row with a value in every column; rows of one number refer to each other."""
    return {column.name: _value(column, number) for column in table.columns}


def _value(column: Column[Any], number: int) -> Any:
    if column.foreign_keys:
        return f"id-{number}"
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, Integer | Float):
        return number
    if column.type.__class__.__name__ == "JSON":
        return []
    return (
        f"id-{number}" if column.name == "id" else f"{column.name}-{number}"[: getattr(column.type, "length", 0) or 99]
    )


def rows(engine: Engine, tables: MetaData) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in every table, in the columns of these."""
    with Database(engine).read() as connection:
        return {table.name: [tuple(row) for row in connection.execute(select(table))] for table in tables.sorted_tables}


def test_the_migrations_build_exactly_the_tables(empty_database_url: str) -> None:
    """After every migration, run twice, an empty database differs in nothing from the tables in the code."""
    engine = open_database(empty_database_url)
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_rows_of_the_previous_release_are_kept(empty_database_url: str) -> None:
    """A row in every table of the previous release reads the same after the migrations."""
    engine = open_database(empty_database_url)
    tables = previous_tables(engine)
    with Database(engine).write() as connection:
        for table in tables.sorted_tables:
            connection.execute(insert(table).values(values(table)))
    before = rows(engine, tables)
    migrate(engine)
    assert all(len(found) == 1 for found in before.values())
    assert rows(engine, tables) == before
    engine.dispose()


def test_statements_of_the_previous_release_work_on_the_new_tables(empty_database_url: str) -> None:
    """It adds, reads, changes and deletes rows, naming only the columns it knows: migrations expand."""
    engine = open_database(empty_database_url)
    tables = previous_tables(engine)
    migrate(engine)
    with Database(engine).write() as connection:
        for table in tables.sorted_tables:
            connection.execute(insert(table).values(values(table)))
            plain = [column for column in table.columns if not column.foreign_keys and not column.primary_key]
            changed = {column.name: _value(column, 2) for column in plain}
            connection.execute(update(table).values(changed or {table.columns.keys()[0]: "id-1"}))
            assert connection.execute(select(table)).one() is not None
        for table in reversed(tables.sorted_tables):
            connection.execute(delete(table))
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    engine.dispose()


LIVES_AND_DIES = """
import asyncio, os, sys
import bascule
from tests.integration.test_orchestrator import *

assert bascule.__file__.startswith(os.getcwd()), "the old code, not ours"
database = Database(open_database(sys.argv[1]))
with database.write() as connection:
    for node in NODES:
        lb_nodes.insert(connection, node)
    for host in HOSTS:
        hypervisors.insert(connection, host)
    pool_id = create_pool(connection, HOSTS)
control = ControlPlane(database, FakeAgents(), FastClock(), Queue(orchestration), pool_id)
asyncio.run(test_a_load_balancer_lives_and_dies(control))
"""


def test_the_code_of_the_previous_release_works_on_the_new_tables(database_url: str, tmp_path: Path) -> None:
    """Its store, queue, workers and decisions, taken from git, bring up a load balancer and delete it again."""
    archive = subprocess.run(
        ["git", "archive", PREVIOUS_COMMIT, "src", "tests"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"needs the history of git: commit {PREVIOUS_COMMIT} is not here")
    subprocess.run(["tar", "x", "-C", str(tmp_path)], input=archive.stdout, check=True)
    engine = open_database(database_url)
    migrate(engine)
    engine.dispose()
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'src'}:{tmp_path}"}
    ran = subprocess.run(
        [sys.executable, "-c", LIVES_AND_DIES, database_url],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_a_database_of_a_newer_release_is_left_as_it_is(database_url: str) -> None:
    """A process of this release that starts after the next one's has migrated works on instead of refusing."""
    engine = open_database(database_url)
    migrate(engine)
    with Database(engine).write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    migrate(engine)
    with Database(engine).read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    engine.dispose()


def test_processes_that_start_at_once_migrate_once(postgresql: PostgreSQLServer) -> None:
    """Four of them on an empty PostgreSQL: one migrates, the others wait for it, none fails."""
    url = postgresql.create_database(migrated=False)
    engines = [open_database(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(migrate, engines)) == [None] * 4
    for engine in engines:
        engine.dispose()
    postgresql.drop_database(url)


def test_there_is_a_way_back(tmp_path: Path) -> None:
    """Rows that name none of the new columns read with their defaults, and the migrations can be undone."""
    engine = open_database(f"sqlite:///{tmp_path / 'bascule.db'}")
    config = Config()
    config.set_main_option("script_location", "bascule.store:migrations")
    config.set_main_option("path_separator", "os")
    add = text(
        "INSERT INTO lb_nodes (id, name, agent_url, agent_token, failure_domain, enabled) "
        "VALUES (:id, :id, 'http://192.0.2.1', 't', '', 1)"
    )
    with Database(engine).write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(add, {"id": "00000000-0000-4000-8000-000000000001"})
    migrate(engine)
    with Database(engine).write() as connection:
        connection.execute(add, {"id": "00000000-0000-4000-8000-000000000002"})
        assert [node.data_plane for node in lb_nodes.list_all(connection)] == [DataPlaneName.XDP] * 2
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    engine.dispose()
