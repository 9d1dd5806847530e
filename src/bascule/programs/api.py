"""The API process: settings, database, migrations, then the server."""

from __future__ import annotations

import secrets

from bascule.api.application import create_app
from bascule.api.context import Context
from bascule.clock import SystemClock
from bascule.programs.settings import ApiSettings
from bascule.programs.startup import start
from bascule.store.database import Database, migrate, open_database
from bascule.system.http_server import serve


def run(settings: ApiSettings) -> None:
    """Migrate the database, then answer requests. Raises InvalidInput or Unavailable before the first one."""
    engine = open_database(settings.database_url)
    migrate(engine)
    context = Context(
        database=Database(engine),
        clock=SystemClock(),
        admin_token=settings.admin_token,
        zone=settings.zone,
        public_url=settings.public_url,
        drain_deadline=settings.drain_deadline,
        new_hash_seed=lambda: secrets.randbits(64),
    )
    serve(create_app(context), settings.api_listen)


def main() -> None:
    """Entry point of `bascule-api`."""
    start("bascule-api", "Serves the public API (/v2) and the operators' API (/admin/v1).", ApiSettings, run)


if __name__ == "__main__":
    main()
