"""Tenants are served in turn."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection

from bascule.orchestration.claims import Entity
from bascule.orchestration.queue import Priority, Queue
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration

LEASE = 10.0


def opened(database_url: str) -> Database:
    """A database with every table."""
    engine = open_database(database_url)
    return Database(engine)


def ask(connection: Connection, tenant: str, number: int, *, priority: Priority = Priority.EVENT) -> None:
    """A request for one entity of a tenant."""
    entity = Entity("thing", f"{tenant}-{number}")
    Queue(orchestration).request(connection, entity, priority=priority, reason="test", now=0.0, tenant=tenant)


def served(connection: Connection, claims: int, *, after: str | None = None) -> list[str]:
    """The tenants that one worker serves in so many claims."""
    queue, tenants = Queue(orchestration), []
    for number in range(claims):
        claim = queue.claim(connection, holder="a", now=1.0 + number, lease=LEASE, after=after)
        if claim is None:
            break
        queue.claims.complete(connection, claim)
        tenants.append(after := claim.tenant)
    return tenants


def test_a_thousand_entities_do_not_hold_up_one(database_url: str) -> None:
    """The tenant with a single entity that is due, asked for last, is served second."""
    database = opened(database_url)
    with database.write() as connection:
        for number in range(1000):
            ask(connection, "big", number)
        ask(connection, "small", 0)
        assert served(connection, 3) == ["big", "small", "big"]
    database.engine.dispose()


def test_tenants_get_equal_shares_until_they_are_done(database_url: str) -> None:
    """Three tenants with ten, three and one entities take turns; nobody is served twice while another waits."""
    database = opened(database_url)
    with database.write() as connection:
        for tenant, entities in (("a", 10), ("b", 3), ("c", 1)):
            for number in range(entities):
                ask(connection, tenant, number)
        order = served(connection, 20)
    assert order[:7] == ["a", "b", "c", "a", "b", "a", "b"]
    assert Counter(order) == {"a": 10, "b": 3, "c": 1}
    database.engine.dispose()


def test_priority_comes_before_turn(database_url: str) -> None:
    """A user's action of the tenant that was served last still overtakes everybody's timers."""
    database = opened(database_url)
    with database.write() as connection:
        ask(connection, "z", 0, priority=Priority.PERIODIC)
        ask(connection, "a", 0, priority=Priority.USER)
        assert served(connection, 5, after="a") == ["a", "z"]
    database.engine.dispose()


def test_a_request_that_names_no_tenant_leaves_it_as_it_was(database_url: str) -> None:
    """Events and timers need not know whose an entity is; who does may change it."""
    database, queue, entity = opened(database_url), Queue(orchestration), Entity("thing", "a-0")
    with database.write() as connection:
        ask(connection, "a", 0)
        queue.request(connection, entity, priority=Priority.EVENT, reason="drift", now=0.0)
        claim = queue.claim(connection, holder="a", now=1.0, lease=LEASE)
        assert claim is not None
        assert claim.tenant == "a"
        queue.request(connection, entity, priority=Priority.EVENT, reason="moved", now=1.0, tenant="b")
        queue.claims.release(connection, claim)
        again = queue.claim(connection, holder="a", now=1.0, lease=LEASE)
        assert again is not None
        assert again.tenant == "b"
    database.engine.dispose()
