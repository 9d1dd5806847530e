"""What every change writes besides its own rows, in the same transaction.

The generation of every load balancer it touches grows, an operation is promised, and a reconciliation is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection

from bascule.model.operations import Operation, OperationState
from bascule.orchestration.claims import Entity
from bascule.orchestration.queue import Priority, Queue
from bascule.store import load_balancers, operations, tables
from bascule.store.times import from_seconds

ENTITY_KIND = "load-balancer"
_QUEUE = Queue(tables.orchestration)


def to_load_balancer(connection: Connection, load_balancer_id: UUID, *, command: str, now: float) -> Operation:
    """A user changed one load balancer or one of its services; returns the pending operation."""
    generations = load_balancers.bump(connection, [load_balancer_id])
    return _promise(connection, ENTITY_KIND, load_balancer_id, generations, command=command, now=now)


def to_instance_pool(connection: Connection, pool_id: UUID, *, command: str, now: float) -> Operation:
    """A user changed a pool: every load balancer that uses it follows; without any, the operation has succeeded."""
    generations = load_balancers.bump(connection, load_balancers.using_pool(connection, pool_id))
    return _promise(connection, "instance-pool", pool_id, generations, command=command, now=now)


def from_outside(connection: Connection, pool_id: UUID, *, reason: str, now: float) -> None:
    """Something became of a pool's machines: every load balancer that uses it follows. Nobody waits for it."""
    generations = load_balancers.bump(connection, load_balancers.using_pool(connection, pool_id))
    request(connection, generations, priority=Priority.EVENT, reason=reason, now=now)


def at_once(connection: Connection, kind: str, reference_id: UUID, *, command: str, now: float) -> Operation:
    """A change that no node needs to hear of; returns an operation that has succeeded."""
    return _promise(connection, kind, reference_id, {}, command=command, now=now)


def request(
    connection: Connection,
    load_balancer_ids: Iterable[UUID],
    *,
    priority: Priority,
    reason: str,
    now: float,
    delay: float = 0.0,
) -> None:
    """Ask for the reconciliation of each, at once or after `delay` seconds."""
    for load_balancer_id in sorted(load_balancer_ids):
        entity = Entity(ENTITY_KIND, str(load_balancer_id))
        _QUEUE.request(connection, entity, priority=priority, reason=reason, now=now, delay=delay)


def requested(connection: Connection) -> dict[UUID, int]:
    """How often each load balancer's reconciliation was asked for."""
    return {UUID(entity): count for entity, count in _QUEUE.requested(connection, ENTITY_KIND).items()}


def in_hand(connection: Connection, load_balancer_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of these load balancers that wait for a reconciliation or are being reconciled."""
    rows = _QUEUE.in_hand(connection, ENTITY_KIND, [str(each) for each in load_balancer_ids])
    return frozenset(map(UUID, rows))


def _promise(
    connection: Connection, kind: str, reference_id: UUID, generations: dict[UUID, int], *, command: str, now: float
) -> Operation:
    operation = Operation(
        id=uuid4(),
        command=command,
        reference_kind=kind,
        reference_id=reference_id,
        generation=generations.get(reference_id, 0),
        state=OperationState.PENDING if generations else OperationState.SUCCESS,
        created_at=from_seconds(now),
    )
    operations.insert(connection, operation, awaited=generations)
    request(connection, generations, priority=Priority.USER, reason=command, now=now)
    return operation
