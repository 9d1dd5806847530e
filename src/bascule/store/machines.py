"""Machines that events spoke of, read and written inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.store import tables

_TABLE = tables.machines


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRow:
    """The last event that was obeyed, and whose instance the machine is; `at` is seconds since the epoch."""

    machine: str
    instance_id: UUID | None
    kind: str
    at: float
    sequence: int | None


def find(connection: Connection, machine: str) -> MachineRow | None:
    """The machine, kept from others until the transaction ends, or None when nothing was said of it."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.machine == machine).with_for_update()).one_or_none()
    if row is None:
        return None
    return MachineRow(
        machine=row.machine,
        instance_id=None if row.instance_id is None else UUID(row.instance_id),
        kind=row.kind,
        at=row.at,
        sequence=row.sequence,
    )


def of_instance(connection: Connection, instance_id: UUID) -> str:
    """The machine whose instance it is; empty when no event spoke of it."""
    row = connection.execute(select(_TABLE.c.machine).where(_TABLE.c.instance_id == str(instance_id))).first()
    return "" if row is None else str(row.machine)


def put(connection: Connection, row: MachineRow) -> None:
    """Write it, in place of what was there. No other machine has its instance from now on."""
    if row.instance_id is not None:
        unlink(connection, row.instance_id)
    values = {
        "instance_id": None if row.instance_id is None else str(row.instance_id),
        "kind": row.kind,
        "at": row.at,
        "sequence": row.sequence,
    }
    done = connection.execute(sql_update(_TABLE).where(_TABLE.c.machine == row.machine).values(**values))
    if not done.rowcount:
        connection.execute(sql_insert(_TABLE).values(machine=row.machine, **values))


def unlink(connection: Connection, instance_id: UUID) -> None:
    """No machine has this instance any more."""
    connection.execute(sql_update(_TABLE).where(_TABLE.c.instance_id == str(instance_id)).values(instance_id=None))


def forget_deleted(connection: Connection, *, before: float) -> None:
    """Forget machines that were deleted before then, in seconds since the epoch."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.kind == "deleted", _TABLE.c.at < before))
