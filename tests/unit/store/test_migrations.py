"""The migrations build the tables that the code describes."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bascule.store.database import migrate, open_database
from bascule.store.tables import metadata


def test_the_migrations_build_exactly_the_tables(tmp_path: Path) -> None:
    """After every migration, run twice, an empty database differs in nothing from the tables in the code."""
    engine = open_database(f"sqlite:///{tmp_path / 'bascule.db'}")
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
