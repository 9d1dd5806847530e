"""Open the database, and bring its tables to the newest migration."""

from __future__ import annotations

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select

from bascule.orchestration import database as library
from bascule.orchestration.database import TABLES_LOCK
from bascule.orchestration.database import Database as Database  # noqa: PLC0414  whoever imports it finds it here

log = structlog.stdlib.get_logger(__name__)


def open_database(url: str) -> Engine:
    """As the library opens it; its errors name the setting."""
    return library.open_database(url, setting="BASCULE_DATABASE_URL")


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest migration. Safe to call from several processes at once: one goes first.

    A database that a newer release has migrated stays as it is: migrations only expand the tables between one release
    and the next (docs/decisions/0014-online-migrations.md). Raises Unavailable when the database does not answer.
    """
    config = Config()
    config.set_main_option("script_location", "bascule.store:migrations")
    config.set_main_option("path_separator", "os")
    with Database(engine).write() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
        present = set(MigrationContext.configure(connection).get_current_heads())
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if present - known:
            log.warning("the database is newer than this release", migrations=sorted(present))
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
