"""The queue: one row per entity."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from bascule.model.errors import LeaseLost
from bascule.orchestration.claims import Entity
from bascule.orchestration.queue import Priority, Queue
from bascule.store.database import open_database
from bascule.store.tables import orchestration

ONE, TWO = Entity("thing", "one"), Entity("thing", "two")
LEASE = 10.0


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An empty database of its own."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """One transaction for the whole test."""
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def queue() -> Queue:
    """A queue over the project's own tables."""
    return Queue(orchestration)


def ask(
    queue: Queue, connection: Connection, entity: Entity = ONE, priority: Priority = Priority.EVENT, now: float = 0.0
) -> None:
    """Request a reconciliation with little typing."""
    queue.request(connection, entity, priority=priority, reason="test", now=now)


def test_many_requests_make_one_run(queue: Queue, connection: Connection) -> None:
    """Requests that wait for the same entity are answered by a single claim."""
    for _ in range(5):
        ask(queue, connection)
    claim = queue.claim(connection, holder="a", now=1.0, lease=LEASE)
    assert claim is not None
    queue.claims.complete(connection, claim)
    assert queue.claim(connection, holder="a", now=2.0, lease=LEASE) is None


def test_a_request_during_a_run_makes_exactly_one_more(queue: Queue, connection: Connection) -> None:
    """What is asked while a run goes on is not lost, and not run twice."""
    ask(queue, connection)
    first = queue.claim(connection, holder="a", now=1.0, lease=LEASE)
    assert first is not None
    ask(queue, connection, now=2.0)
    ask(queue, connection, now=2.5)
    assert queue.claim(connection, holder="b", now=3.0, lease=LEASE) is None, "never twice at once"
    queue.claims.complete(connection, first)
    second = queue.claim(connection, holder="b", now=4.0, lease=LEASE)
    assert second is not None
    queue.claims.complete(connection, second)
    assert queue.claim(connection, holder="b", now=5.0, lease=LEASE) is None


def test_users_go_first(queue: Queue, connection: Connection) -> None:
    """A user's action overtakes periodic work that was asked for earlier."""
    ask(queue, connection, ONE, Priority.PERIODIC, now=0.0)
    ask(queue, connection, TWO, Priority.USER, now=1.0)
    claim = queue.claim(connection, holder="a", now=2.0, lease=LEASE)
    assert claim is not None
    assert claim.entity == TWO


def test_a_dead_workers_entity_is_taken_over_with_a_later_epoch(queue: Queue, connection: Connection) -> None:
    """When a lease runs out another worker takes over, and the late one can neither renew nor complete."""
    ask(queue, connection)
    dead = queue.claim(connection, holder="dead", now=0.0, lease=LEASE)
    assert dead is not None
    assert queue.claim(connection, holder="b", now=LEASE - 1, lease=LEASE) is None
    heir = queue.claim(connection, holder="b", now=LEASE + 1, lease=LEASE)
    assert heir is not None
    assert heir.epoch > dead.epoch
    with pytest.raises(LeaseLost):
        queue.claims.complete(connection, dead)
    with pytest.raises(LeaseLost):
        queue.claims.renew(connection, dead, now=LEASE + 2, lease=LEASE)
    with pytest.raises(LeaseLost):
        queue.claims.check(connection, dead)
    with pytest.raises(LeaseLost):
        queue.claims.fail(connection, dead, error="", retry_at=0.0)
    with pytest.raises(LeaseLost):
        queue.claims.forget(connection, dead)
    queue.claims.check(connection, heir)


def test_a_renewed_lease_is_kept(queue: Queue, connection: Connection) -> None:
    """A heartbeat extends the lease."""
    ask(queue, connection)
    claim = queue.claim(connection, holder="a", now=0.0, lease=LEASE)
    assert claim is not None
    queue.claims.renew(connection, claim, now=9.0, lease=LEASE)
    assert queue.claim(connection, holder="b", now=LEASE + 1, lease=LEASE) is None


def test_a_heartbeat_that_comes_late_does_not_lease_again(queue: Queue, connection: Connection) -> None:
    """After a run has ended its heartbeat is refused: the entity is free for the next request."""
    ask(queue, connection)
    claim = queue.claim(connection, holder="a", now=0.0, lease=LEASE)
    assert claim is not None
    queue.claims.complete(connection, claim)
    with pytest.raises(LeaseLost):
        queue.claims.renew(connection, claim, now=0.1, lease=LEASE)
    ask(queue, connection, now=0.2)
    assert queue.claim(connection, holder="a", now=0.2, lease=LEASE) is not None


def test_a_failure_waits_unless_a_user_asks(queue: Queue, connection: Connection) -> None:
    """Backoff holds against events and timers, not against users."""
    ask(queue, connection)
    claim = queue.claim(connection, holder="a", now=0.0, lease=LEASE)
    assert claim is not None
    queue.claims.fail(connection, claim, error="broken", retry_at=100.0)
    ask(queue, connection, priority=Priority.EVENT, now=1.0)
    assert queue.claim(connection, holder="a", now=2.0, lease=LEASE) is None
    ask(queue, connection, priority=Priority.USER, now=3.0)
    again = queue.claim(connection, holder="a", now=3.0, lease=LEASE)
    assert again is not None
    assert again.attempts == 1


def test_a_restarted_worker_gives_up_its_old_leases(queue: Queue, connection: Connection) -> None:
    """After a crash the same worker need not wait for its own lease to run out."""
    ask(queue, connection)
    assert queue.claim(connection, holder="a", now=0.0, lease=LEASE) is not None
    queue.claims.release_all(connection, "a")
    assert queue.claim(connection, holder="a", now=1.0, lease=LEASE) is not None


def test_a_delayed_request_comes_due_later_or_when_somebody_hurries(queue: Queue, connection: Connection) -> None:
    """A sweep spread over its period does not run early, but an event does not wait for it."""
    queue.request(connection, ONE, priority=Priority.PERIODIC, reason="sweep", now=0.0, delay=30.0)
    assert queue.claim(connection, holder="a", now=1.0, lease=LEASE) is None
    ask(queue, connection, now=2.0)
    claim = queue.claim(connection, holder="a", now=2.0, lease=LEASE)
    assert claim is not None
    assert claim.reasons == ("sweep", "test")


def test_two_processes_never_hold_the_same_entity(database_url: str, queue: Queue) -> None:
    """Two connections racing for one row: one gets it, the other nothing."""
    one, two = open_database(database_url), open_database(database_url)
    with one.begin() as connection:
        ask(queue, connection)
    with one.begin() as connection:
        first = queue.claim(connection, holder="one", now=1.0, lease=LEASE)
    with two.begin() as connection:
        second = queue.claim(connection, holder="two", now=1.0, lease=LEASE)
    assert (first is None) != (second is None)
    one.dispose()
    two.dispose()
