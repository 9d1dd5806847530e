"""The migrations build the tables that the code describes."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bascule.store.database import migrate, open_database
from bascule.store.tables import metadata


def test_the_migrations_build_exactly_the_tables(empty_database_url: str) -> None:
    """After every migration, run twice, an empty database differs in nothing from the tables in the code."""
    engine = open_database(empty_database_url)
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
