"""The API process: settings, database, migrations, then the server."""

from __future__ import annotations

import argparse
import secrets
import sys

import uvicorn

from bascule.api.application import create_app
from bascule.api.context import Context
from bascule.model.errors import BasculeError, InvalidInput
from bascule.orchestration.clock import SystemClock
from bascule.programs.settings import ApiSettings, load
from bascule.store.database import Database, migrate, open_database

_ENVIRONMENT = """\
environment:
  BASCULE_ADMIN_TOKEN   token of the operators' API, at least 16 characters (required)
  BASCULE_DATABASE_URL  sqlite:///path or postgresql+psycopg://user:password@host/database
                        (sqlite:////var/lib/bascule/bascule.db)
  BASCULE_API_LISTEN    address and port (127.0.0.1:8080)
  BASCULE_ZONE          name of the zone this API serves (home-1)
  BASCULE_PUBLIC_URL    where clients reach the API, when it is not where it listens
  BASCULE_LOG_FORMAT    text or json (text)

example:
  BASCULE_ADMIN_TOKEN=$(openssl rand -hex 32) BASCULE_DATABASE_URL=sqlite:///bascule.db bascule-api
"""


def main() -> None:
    """Run until a signal ends it."""
    argparse.ArgumentParser(
        prog="bascule-api",
        description="Serve the public API (/v2) and the operators' API (/admin/v1).",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        serve(load(ApiSettings))
    except BasculeError as error:
        sys.stderr.write(f"{error.sentence}\n")
        sys.exit(error.exit_code)


def serve(settings: ApiSettings) -> None:
    """Migrate the database, then answer requests. Raises InvalidInput or Unavailable before the first one."""
    host, port = listen_address(settings.api_listen)
    engine = open_database(settings.database_url)
    migrate(engine)
    context = Context(
        database=Database(engine),
        clock=SystemClock(),
        admin_token=settings.admin_token,
        zone=settings.zone,
        public_url=settings.public_url,
        new_hash_seed=lambda: secrets.randbits(64),
    )
    uvicorn.run(create_app(context), host=host, port=port, server_header=False)


def listen_address(text: str) -> tuple[str, int]:
    """Read "address:port". Raises InvalidInput."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(
            f"BASCULE_API_LISTEN is {text!r}: write an address and a port, as in 127.0.0.1:8080.",
            field="BASCULE_API_LISTEN",
        )
    return host.strip("[]"), int(port)
