"""How many connections a draining instance has left, as LB nodes tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import Backend
from bascule.model.instance_pools import Instance
from bascule.model.load_balancers import Service
from bascule.model.reports import BalancerState, VirtualBackendReport
from bascule.model.virtual_services import ServiceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A service that sends to an instance, and the LB nodes that may carry it."""

    load_balancer_id: UUID
    service: Service
    holders: frozenset[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Of one service on one LB node; None is not known."""

    lb_node_id: UUID
    load_balancer_id: UUID
    service: Service
    connections: int | None


States = Mapping[UUID, Mapping[UUID, BalancerState]]
"""By LB node, then by load balancer. A node that does not answer has none."""


def remaining(instance: Instance, uses: Iterable[Use], states: States) -> Iterator[Remaining]:
    """Of every service on every LB node that may carry it."""
    for use in uses:
        for node_id in sorted(use.holders):
            state = states.get(node_id, {}).get(use.load_balancer_id)
            yield Remaining(
                lb_node_id=node_id,
                load_balancer_id=use.load_balancer_id,
                service=use.service,
                connections=None if state is None else _on_node(instance, use.service, state),
            )


def is_empty(found: Sequence[Remaining]) -> bool:
    """Whether every LB node knows that nothing is left."""
    return all(each.connections == 0 for each in found)


def _on_node(instance: Instance, service: Service, state: BalancerState) -> int | None:
    """None also before the node has obeyed: it may give the instance new connections yet."""
    if not state.balancer.ready:
        return None
    told = _told(instance, service, state)
    found = _found(state.balancer.configuration.address, instance, service, state)
    if told is None or found is None:
        return 0 if told is None and found is None else None
    return found.remaining if told.weight == 0 and found.weight == 0 else None


def _told(instance: Instance, service: Service, state: BalancerState) -> Backend | None:
    backends = (
        backend
        for each in state.balancer.configuration.services
        if each.id == service.id
        for backend in each.backends
        if backend.instance_id == instance.id
    )
    return next(backends, None)


def _found(
    address: IPAddress, instance: Instance, service: Service, state: BalancerState
) -> VirtualBackendReport | None:
    key = ServiceKey(address, service.protocol, service.port)
    backends = (each for found in state.services if found.key == key for each in found.backends)
    return next((each for each in backends if each.address == instance.address), None)
