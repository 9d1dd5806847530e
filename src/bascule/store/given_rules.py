"""The rules by which LB nodes may send, read and written inside the caller's transaction.

The expected state says which rules hypervisors need; this is what LB nodes may still do, because they were told so and
have not confirmed anything newer. At rest both are the same, and only then is a row's generation the load balancer's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from uuid import UUID

from sqlalchemy import Connection, bindparam, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule, RulesByHypervisor
from bascule.model.strategies import Protocol
from bascule.store import tables

_TABLE = tables.given_rules
_BALANCERS = tables.load_balancers
_ADDRESSES = tables.elastic_ips
_UNSETTLED = (
    select(_BALANCERS.c.id, _ADDRESSES.c.address, _TABLE.c.rules)
    .join(_ADDRESSES, _ADDRESSES.c.load_balancer_id == _BALANCERS.c.id)
    .outerjoin(_TABLE, _TABLE.c.load_balancer_id == _BALANCERS.c.id)
    .where(_BALANCERS.c.id.in_(bindparam("of", expanding=True)))
    .where(or_(_TABLE.c.generation.is_(None), _TABLE.c.generation != _BALANCERS.c.generation))
)


def unsettled(connection: Connection, load_balancer_ids: Sequence[UUID]) -> dict[UUID, RulesByHypervisor]:
    """What was given out of those load balancers where it may be more or less than the expected state asks for."""
    rows = connection.execute(_UNSETTLED, {"of": [str(each) for each in load_balancer_ids]})
    return {UUID(row.id): _parsed(ip_address(row.address), row.rules) for row in rows}


def replace(
    connection: Connection, load_balancer_id: UUID, rules: RulesByHypervisor, *, generation: int | None
) -> None:
    """Write that these rules are given out; with `generation`, that they are all that it asks for."""
    forget(connection, load_balancer_id)
    connection.execute(
        sql_insert(_TABLE).values(
            load_balancer_id=str(load_balancer_id), generation=generation, rules=json.dumps(_written(rules))
        )
    )


def forget(connection: Connection, load_balancer_id: UUID) -> None:
    """The load balancer is gone."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id)))


def _written(rules: RulesByHypervisor) -> dict[str, list[list[str | int]]]:
    return {
        str(hypervisor_id): [[each.protocol, each.port, str(each.instance), each.target_port] for each in sorted(found)]
        for hypervisor_id, found in sorted(rules.items())
    }


def _parsed(address: IPAddress, written: str | None) -> Mapping[UUID, frozenset[ForwardingRule]]:
    return {
        UUID(hypervisor_id): frozenset(
            ForwardingRule(address, Protocol(protocol), port, ip_address(instance), target_port)
            for protocol, port, instance, target_port in found
        )
        for hypervisor_id, found in json.loads(written or "{}").items()
    }
