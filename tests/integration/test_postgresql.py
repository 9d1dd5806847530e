"""Several processes on one PostgreSQL: they share the work, take over from the dead, and outlive the database."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, text

from bascule.lab.servers import postgresql_programs
from bascule.model.errors import LeaseLost, Unavailable
from bascule.orchestration.bell import PostgreSQLBell
from bascule.orchestration.claims import Entity
from bascule.orchestration.queue import Priority, Queue
from bascule.store import lb_nodes, node_states
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration
from tests.integration.worker_process import HANG, KIND, LEASE, metadata, runs
from tests.postgresql import PostgreSQLServer
from tests.unit.agents.builders import balancer_state
from tests.unit.balancing.world import lb_node
from tests.waiting import until

ROOT = Path(__file__).parents[2]
QUEUE = Queue(orchestration)


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> Iterator[str]:
    """A database with our tables and those of the workers."""
    made = postgresql.create_database()
    _add_tables(made)
    yield made
    postgresql.drop_database(made)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The same, opened."""
    with opened(url) as database:
        yield database


def _add_tables(url: str) -> None:
    with opened(url) as database, database.write() as connection:
        metadata.create_all(connection)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database, for a while."""
    engine = open_database(url)
    yield Database(engine)
    engine.dispose()


@contextmanager
def process(url: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with one worker."""
    worker = subprocess.Popen([sys.executable, "-m", "tests.integration.worker_process", url, name], cwd=ROOT)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait(10)


def ask(database: Database, *entities: str) -> None:
    """Request a run of each, in one transaction."""
    with database.write() as connection:
        for entity in entities:
            QUEUE.request(connection, Entity(KIND, entity), priority=Priority.USER, reason="test", now=time.time())


def waiting(database: Database) -> int:
    """How many entities have not been served."""
    queue = orchestration.reconciliations
    with database.read() as connection:
        left = select(func.count()).select_from(queue).where(queue.c.requested > queue.c.done)
        return connection.execute(left).scalar_one()


def ran(database: Database) -> dict[str, Counter[str]]:
    """For each worker, how often it ran each entity."""
    with database.read() as connection:
        rows = connection.execute(select(runs)).all()
    return {
        worker: Counter(row.entity_id for row in rows if row.worker == worker) for worker in {r.worker for r in rows}
    }


def failures(database: Database) -> int:
    """How many jobs did not end well; two workers on one entity at once make such a one."""
    jobs = orchestration.jobs
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(jobs).where(jobs.c.state == "failure")).scalar_one()


def test_two_processes_share_two_hundred_entities(url: str, database: Database) -> None:
    """Each entity is run once, by one of them, never by both at once; and both had work to do."""
    entities = [f"e{number}" for number in range(200)]
    with process(url, "one"), process(url, "two"):
        ask(database, "warm-one", "warm-two")
        until("all to be reconciled", lambda: waiting(database) == 0)
        ask(database, *entities)
        until("all to be reconciled", lambda: waiting(database) == 0)
    done = ran(database)
    assert sum((runs for runs in done.values()), Counter[str]()) == Counter([*entities, "warm-one", "warm-two"])
    assert len(done) == 2, "both processes took part"
    assert failures(database) == 0


def test_what_a_killed_process_held_is_taken_over_when_its_lease_ends(url: str, database: Database) -> None:
    """Killed in the middle of a step; another process runs it with a later epoch, not before the lease ended."""
    queue, jobs = orchestration.reconciliations, orchestration.jobs
    with process(url, "dies") as dying:
        ask(database, HANG)
        with opened(url) as looking:
            until("a job", lambda: _count_jobs(looking) == 1)
        dying.send_signal(signal.SIGKILL)
        dying.wait(10)
    with database.read() as connection:
        lease_until = connection.execute(select(queue.c.lease_until)).scalar_one()
    with process(url, "lives"):
        until("all to be reconciled", lambda: waiting(database) == 0)
    assert ran(database) == {"lives": Counter([HANG])}
    with database.read() as connection:
        first, second = connection.execute(select(jobs).order_by(jobs.c.epoch)).all()
    assert (first.state, second.state, second.epoch) == ("failure", "success", 2)
    assert second.started_at >= lease_until
    assert lease_until <= first.started_at + 2 * LEASE


def _count_jobs(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(orchestration.jobs)).scalar_one()


def test_losing_the_database_loses_nothing_but_time() -> None:
    """The server dies under two busy processes and comes back: every request that was accepted is run."""
    if postgresql_programs() is None:
        pytest.skip("needs Debian's package postgresql (make setup installs it)")
    server = PostgreSQLServer()
    try:
        url = server.create_database()
        _add_tables(url)
        with opened(url) as database, process(url, "one"), process(url, "two"):
            ask(database, *(f"before-{number}" for number in range(100)))
            until("a run", lambda: bool(ran(database)))
            server.stop()
            with pytest.raises(Unavailable):
                ask(database, "refused")
            server.start()
            ask(database, *(f"after-{number}" for number in range(20)))
            until("all to be reconciled", lambda: waiting(database) == 0)
            assert set().union(*ran(database).values()) >= {
                *(f"before-{number}" for number in range(100)),
                *(f"after-{number}" for number in range(20)),
            }
    finally:
        server.remove()


async def test_a_bell_rings_when_a_request_is_committed(database: Database) -> None:
    """An idle worker that would look again in an hour is woken at once, also after its connection was cut."""
    bell = PostgreSQLBell(database.engine.url)
    listening = asyncio.ensure_future(bell.run())
    for number in range(2):
        async with asyncio.timeout(30):
            await bell.listening.wait()
            rings = asyncio.ensure_future(bell.wait(3600.0))
            await asyncio.sleep(0)
            await asyncio.to_thread(ask, database, f"e{number}")
            await rings
        with database.write() as connection:
            listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            assert connection.execute(text(listeners)).rowcount == 1
        await asyncio.to_thread(until, "the bell to fall silent", lambda: not bell.listening.is_set())
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening


def test_a_claim_passes_by_what_another_transaction_is_claiming(url: str, database: Database) -> None:
    """Neither waits for the other: the second gets the next entity, the third nothing."""
    ask(database, "a", "b")
    now = time.time()
    with opened(url) as other, database.write() as mine, other.write() as theirs:
        first = QUEUE.claim(mine, holder="one", now=now, lease=LEASE)
        second = QUEUE.claim(theirs, holder="two", now=now, lease=LEASE)
        assert first is not None
        assert second is not None
        assert {first.entity.id, second.entity.id} == {"a", "b"}
        with opened(url) as third, third.write() as connection:
            assert QUEUE.claim(connection, holder="three", now=now, lease=LEASE) is None


def test_two_first_requests_at_once_are_both_counted(url: str, database: Database) -> None:
    """The second finds no row, cannot add one because the first just did, and asks again instead of failing."""
    entity = Entity(KIND, "new")
    with opened(url) as other:
        with database.write() as connection:
            QUEUE.request(connection, entity, priority=Priority.EVENT, reason="one", now=1.0)
            second = threading.Thread(target=ask, args=(other, "new"))
            second.start()
            with opened(url) as looking:
                until("a lock to be waited for", lambda: _anybody_waits_for_a_lock(looking))
        second.join(30)
    with database.read() as connection:
        row = connection.execute(select(orchestration.reconciliations)).one()
    assert (row.requested, row.priority, row.reasons) == (2, Priority.USER, ["one", "test"])


def test_two_watches_write_down_the_same_node(url: str, database: Database) -> None:
    """Each begins with what it cannot know of the other: the second waits, and what it wrote last is kept."""
    node, load_balancer = lb_node(1), UUID(int=1)
    with database.write() as connection:
        lb_nodes.insert(connection, node)

    def write_down(connection: Connection, generation: int) -> None:
        rows = node_states.written({load_balancer: balancer_state(generation)})
        node_states.replace_node(connection, node.id, rows, {}, 1.0)

    with opened(url) as other, opened(url) as looking, ThreadPoolExecutor() as pool:
        with database.write() as connection:
            write_down(connection, 1)

            def second() -> None:
                with other.write() as connection:
                    write_down(connection, 2)

            written = pool.submit(second)
            until("a lock to be waited for", lambda: _anybody_waits_for_a_lock(looking))
        written.result(30)
    with database.read() as connection:
        kept = node_states.of_load_balancer(connection, load_balancer)[node.id]
    assert kept.state.balancer.configuration.version.generation == 2


def _anybody_waits_for_a_lock(database: Database) -> bool:
    with database.read() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


def test_what_a_step_writes_is_fenced_until_it_is_committed(url: str, database: Database) -> None:
    """Nobody takes over between a step's last look at its lease and its commit; and a late step is refused."""
    ask(database, "a")
    with database.write() as connection:
        claim = QUEUE.claim(connection, holder="one", now=time.time(), lease=LEASE)
        assert claim is not None
    late = time.time() + 2 * LEASE
    with opened(url) as other:
        with database.write() as step:
            QUEUE.claims.hold(step, claim)
            with other.write() as connection:
                assert QUEUE.claim(connection, holder="two", now=late, lease=LEASE) is None
        with other.write() as connection:
            assert QUEUE.claim(connection, holder="two", now=late, lease=LEASE) is not None
    with pytest.raises(LeaseLost), database.write() as step:
        QUEUE.claims.hold(step, claim)
