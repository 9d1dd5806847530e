"""Operations wait for what they touch, and end once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from bascule.model.operations import Operation, OperationReason, OperationState
from bascule.store import operations
from bascule.store.database import Database, open_database

KIND = "load-balancer"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A transaction on an empty database."""
    engine = open_database(database_url)
    with Database(engine).write() as opened:
        yield opened
    engine.dispose()


def pending(connection: Connection, **awaited: int) -> tuple[UUID, dict[str, UUID]]:
    """An operation that waits for these generations; returns its identifier and the load balancers' by name."""
    named = {name: uuid4() for name in awaited}
    operation = Operation(
        id=uuid4(),
        command="c",
        reference_kind="instance-pool",
        reference_id=uuid4(),
        generation=0,
        created_at=datetime.now(UTC),
    )
    waits = {named[name]: generation for name, generation in awaited.items()}
    operations.insert(connection, operation, awaited=waits)
    return operation.id, named


def test_it_succeeds_when_the_last_one_has_followed(connection: Connection) -> None:
    """An older generation keeps nobody's promise; a newer one does."""
    operation, named = pending(connection, a=3, b=5)
    operations.succeed_up_to(connection, KIND, named["a"], 4)
    operations.succeed_up_to(connection, KIND, named["b"], 4)
    assert operations.get(connection, operation).state is OperationState.PENDING
    operations.succeed_up_to(connection, KIND, named["b"], 5)
    assert operations.get(connection, operation).state is OperationState.SUCCESS


def test_one_failure_is_a_failure(connection: Connection) -> None:
    """The reason and the sentence stay, whatever the other load balancers do later."""
    operation, named = pending(connection, a=1, b=1)
    operations.fail(connection, KIND, named["a"], 1, reason=OperationReason.FAULT, message="No LB node answers.")
    operations.succeed_up_to(connection, KIND, named["b"], 9)
    ended = operations.get(connection, operation)
    assert (ended.state, ended.reason, ended.message) == (
        OperationState.FAILURE,
        OperationReason.FAULT,
        "No LB node answers.",
    )


def test_a_failure_spares_what_came_later(connection: Connection) -> None:
    """A change asked for after the one that failed still has its chance."""
    operation, named = pending(connection, a=2)
    operations.fail(connection, KIND, named["a"], 1, reason=OperationReason.FAULT, message="x")
    assert operations.get(connection, operation).state is OperationState.PENDING
