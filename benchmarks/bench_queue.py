"""How many entities a second the queue hands out: claim and complete, as workers do it, on SQLite and PostgreSQL.

    python -m benchmarks.bench_queue [--entities 2000]

PostgreSQL is a server of our own with its data in a temporary directory; `fsync` is off, so a disk's time is not in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bascule.lab.servers import postgresql_programs
from bascule.orchestration.claims import Entity
from bascule.orchestration.queue import Priority, Queue
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import orchestration
from tests.postgresql import PostgreSQLServer

QUEUE = Queue(orchestration)
TENANTS = 10


def main() -> None:
    """Print a line for each database and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=2000, help="how many are due at once")
    entities: int = parser.parse_args().entities
    for name, url in urls():
        database = Database(open_database(url))
        migrate(database.engine)
        for workers in (1, 4):
            request(database, entities)
            began = time.perf_counter()
            with ThreadPoolExecutor(workers) as threads:
                holders = [f"worker-{number}" for number in range(workers)]
                done = sum(threads.map(drain, [database] * workers, holders))
            assert done == entities
            print(f"{name:10} {workers} workers  {done / (time.perf_counter() - began):8.0f} claims/s")
        database.engine.dispose()


@contextmanager
def server() -> Iterator[PostgreSQLServer | None]:
    """A PostgreSQL, where Debian's package is installed."""
    made = None if postgresql_programs() is None else PostgreSQLServer()
    try:
        yield made
    finally:
        if made is not None:
            made.remove()


def urls() -> Iterator[tuple[str, str]]:
    """The databases to measure, by name."""
    with tempfile.TemporaryDirectory() as folder:
        yield "SQLite", f"sqlite:///{folder}/bench.db"
    with server() as postgresql:
        if postgresql is None:
            print("PostgreSQL: not measured, install Debian's package postgresql")
        else:
            yield "PostgreSQL", postgresql.create_database()


def request(database: Database, entities: int) -> None:
    """Make so many entities due, of several tenants."""
    with database.write() as connection:
        for number in range(entities):
            entity, tenant = Entity("bench", str(number)), str(number % TENANTS)
            QUEUE.request(connection, entity, priority=Priority.EVENT, reason="bench", now=0.0, tenant=tenant)


def drain(database: Database, holder: str) -> int:
    """Claim and complete until nothing is due; returns how many."""
    done, after = 0, None
    while True:
        with database.write() as connection:
            claim = QUEUE.claim(connection, holder=holder, now=time.time(), lease=60.0, after=after)
        if claim is None:
            return done
        with database.write() as connection:
            QUEUE.claims.complete(connection, claim)
        done, after = done + 1, claim.tenant


if __name__ == "__main__":
    main()
