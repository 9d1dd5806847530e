"""The migrations build the tables that the code describes."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from bascule.model.data_planes import DataPlaneName
from bascule.store import lb_nodes
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import metadata


def test_the_migrations_build_exactly_the_tables(tmp_path: Path) -> None:
    """After every migration, run twice, an empty database differs in nothing from the tables in the code."""
    engine = open_database(f"sqlite:///{tmp_path / 'bascule.db'}")
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_release_before_can_still_write(tmp_path: Path) -> None:
    """Rows of before the second migration, and rows that name none of its columns, read with its defaults."""
    engine = open_database(f"sqlite:///{tmp_path / 'bascule.db'}")
    config = Config()
    config.set_main_option("script_location", "bascule.store:migrations")
    config.set_main_option("path_separator", "os")
    insert = text(
        "INSERT INTO lb_nodes (id, name, agent_url, agent_token, failure_domain, enabled) "
        "VALUES (:id, :id, 'http://192.0.2.1', 't', '', 1)"
    )
    with Database(engine).write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(insert, {"id": "00000000-0000-4000-8000-000000000001"})
    migrate(engine)
    with Database(engine).write() as connection:
        connection.execute(insert, {"id": "00000000-0000-4000-8000-000000000002"})
        assert [node.data_plane for node in lb_nodes.list_all(connection)] == [DataPlaneName.XDP] * 2
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    engine.dispose()
