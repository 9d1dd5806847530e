"""Operations and what they wait for, read and written inside the caller's transaction.

An operation waits for one generation of every load balancer it touches (`awaited`): one for a change of a load
balancer, as many as use it for a change of an instance pool. It succeeds when the last of them has been observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import NotFound
from bascule.model.operations import Operation, OperationReason, OperationState
from bascule.store import tables
from bascule.store.times import from_seconds

_TABLE = tables.operations
_AWAITED = tables.awaited
_WAITING = select(_AWAITED.c.entity_id).where(
    _AWAITED.c.kind == bindparam("of_kind"), _AWAITED.c.entity_id.in_(bindparam("of_ids", expanding=True))
)


def insert(connection: Connection, operation: Operation, *, awaited: Mapping[UUID, int] | None = None) -> None:
    """Add the row. `awaited` maps each load balancer to the generation that must come true."""
    connection.execute(
        sql_insert(_TABLE).values(
            id=str(operation.id),
            command=operation.command,
            reference_kind=operation.reference_kind,
            reference_id=str(operation.reference_id),
            generation=operation.generation,
            state=operation.state,
            reason=operation.reason,
            message=operation.message,
            created_at=operation.created_at.timestamp(),
        )
    )
    for load_balancer_id, generation in (awaited or {}).items():
        connection.execute(
            sql_insert(_AWAITED).values(
                operation_id=str(operation.id),
                kind="load-balancer",
                entity_id=str(load_balancer_id),
                generation=generation,
            )
        )


def get(connection: Connection, operation_id: UUID) -> Operation:
    """One operation. Raises NotFound."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(operation_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no operation {operation_id}: use the id that the change answered.")
    return _noun(row)


def waiting_among(connection: Connection, reference_kind: str, reference_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of these entities of which operations wait for some generation."""
    wanted = {"of_kind": reference_kind, "of_ids": [str(each) for each in reference_ids]}
    return frozenset(UUID(row.entity_id) for row in connection.execute(_WAITING, wanted))


def succeed_up_to(
    connection: Connection, reference_kind: str, reference_id: UUID, generation: int, *, message: str = ""
) -> None:
    """This generation has been observed: operations that waited for it, or for an older one, may succeed.

    `message` tells the user what is still to follow, such as a node that did not answer.
    """
    waiting = _waiting(connection, reference_kind, reference_id, generation)
    connection.execute(
        sql_delete(_AWAITED).where(
            _AWAITED.c.kind == reference_kind,
            _AWAITED.c.entity_id == str(reference_id),
            _AWAITED.c.generation <= generation,
        )
    )
    # One that still waits for another load balancer stays pending.
    left = select(_AWAITED.c.operation_id)
    connection.execute(
        sql_update(_TABLE)
        .where(_TABLE.c.id.in_(waiting), _TABLE.c.id.not_in(left), _TABLE.c.state == OperationState.PENDING)
        .values(state=OperationState.SUCCESS, message=message)
    )


def fail(
    connection: Connection,
    reference_kind: str,
    reference_id: UUID,
    generation: int,
    *,
    reason: OperationReason,
    message: str,
) -> None:
    """Operations that wait for this generation or an older one fail, with a sentence for the user."""
    waiting = _waiting(connection, reference_kind, reference_id, generation)
    connection.execute(sql_delete(_AWAITED).where(_AWAITED.c.operation_id.in_(waiting)))
    connection.execute(
        sql_update(_TABLE)
        .where(_TABLE.c.id.in_(waiting), _TABLE.c.state == OperationState.PENDING)
        .values(state=OperationState.FAILURE, reason=reason, message=message)
    )


def _waiting(connection: Connection, kind: str, entity_id: UUID, generation: int) -> list[str]:
    rows = connection.execute(
        select(_AWAITED.c.operation_id).where(
            _AWAITED.c.kind == kind, _AWAITED.c.entity_id == str(entity_id), _AWAITED.c.generation <= generation
        )
    )
    return [row.operation_id for row in rows]


def _noun(row: Row[Any]) -> Operation:
    return Operation(
        id=UUID(row.id),
        command=row.command,
        reference_kind=row.reference_kind,
        reference_id=UUID(row.reference_id),
        generation=row.generation,
        state=OperationState(row.state),
        reason=None if row.reason is None else OperationReason(row.reason),
        message=row.message,
        created_at=from_seconds(row.created_at),
    )
