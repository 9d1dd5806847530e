"""/admin/v1/load-balancers/{id}/state: what LB nodes have of a load balancer, as the orchestrator saw it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from fastapi import APIRouter

from bascule.api.context import Ctx
from bascule.balancing import expectation
from bascule.balancing.desired import demands_of, left_out
from bascule.balancing.remarks import mismatch, on_placement, too_few
from bascule.model.addresses import address_order
from bascule.model.configurations import Backend, ServiceConfiguration
from bascule.model.load_balancers import LoadBalancer
from bascule.model.nodes import LBNode
from bascule.model.reports import BackendHealth, BalancerState, VirtualBackendReport, VirtualServiceReport
from bascule.model.virtual_services import ServiceKey
from bascule.store import instance_pools, lb_nodes, load_balancers, node_states, placements
from bascule.store.node_states import KeptState
from bascule.store.times import from_seconds
from bascule.wire.admin_v1_state import BackendStateView, LoadBalancerStateView, NodeStateView, ServiceStateView

FRESH_FOR = 15.0  # seconds; the orchestrator writes down every few seconds what nodes that answer have
router = APIRouter(prefix="/admin/v1", tags=["operators: load balancers"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What the store says; `instances` are names."""

    load_balancer: LoadBalancer
    instances: Mapping[UUID, str]
    now: float


@router.get("/load-balancers/{id}/state")
def get_load_balancer_state(context: Ctx, id: UUID) -> LoadBalancerStateView:  # noqa: A002
    """Virtual servers, backends, weights, connections, packets and bytes, by LB node, as the kernels count them."""
    with context.database.read() as connection:
        load_balancer = load_balancers.get(connection, id)
        pools = instance_pools.for_load_balancer(connection, id)
        placed, nodes = placements.of(connection, id), lb_nodes.list_all(connection)
        kept = node_states.of_load_balancer(connection, id)
        neighbours = expectation.neighbours(connection, load_balancer)
    names = {member.id: member.name for pool in pools.values() for member in pool.members}
    expected = _Expected(load_balancer=load_balancer, instances=names, now=context.clock.now())
    return LoadBalancerStateView(
        id=id,
        name=load_balancer.name,
        remarks=[
            *too_few(demands_of(load_balancer, pools, {}), nodes),
            *on_placement(load_balancer, nodes, placed, neighbours),
            *left_out(load_balancer, pools),
        ],
        lb_nodes=[_node_view(expected, node, kept.get(node.id)) for node in nodes if node.id in placed],
    )


def _node_view(expected: _Expected, node: LBNode, kept: KeptState | None) -> NodeStateView:
    if kept is None:
        sentence = f"{node.name} has not been seen with it yet: see that its agent and the orchestrator run."
        return NodeStateView(
            lb_node=node.id,
            name=node.name,
            data_plane=node.data_plane,
            answers=False,
            problems=[sentence],
            services=[],
        )
    state, age = kept.state, max(0.0, expected.now - kept.observed_at)
    silent = age > FRESH_FOR
    late = (
        [f"{node.name} was last seen {age:.0f} s ago: see that its agent and the orchestrator run."] if silent else []
    )
    return NodeStateView(
        lb_node=node.id,
        name=node.name,
        data_plane=state.data_plane_name or node.data_plane,
        answers=not silent,
        observed_at=from_seconds(kept.observed_at),
        age=round(age, 1),
        ready=state.balancer.ready,
        announced=state.balancer.announced,
        problems=[*late, *mismatch(node, state.data_plane_name), *state.problems],
        services=list(_services(expected, state)),
    )


def _services(expected: _Expected, state: BalancerState) -> Iterator[ServiceStateView]:
    """What the data plane has and what it was told, each service once."""
    present = {each.key: each for each in state.services}
    configuration = state.balancer.configuration
    told = {ServiceKey(configuration.address, each.protocol, each.port): each for each in configuration.services}
    names = {service.id: service.name for service in expected.load_balancer.services}
    health = {(each.service_id, each.instance_id): each for each in state.balancer.health}
    for key in sorted({*present, *told}):
        found, service = present.get(key, VirtualServiceReport(key=key)), told.get(key)
        yield ServiceStateView(
            name=None if service is None else names.get(service.id),
            protocol=key.protocol,
            address=key.address,
            port=key.port,
            scheduler=found.scheduler,
            packets=found.traffic.packets,
            bytes=found.traffic.bytes,
            backends=list(_backends(expected, found, service, health)),
        )


def _backends(
    expected: _Expected,
    found: VirtualServiceReport,
    configuration: ServiceConfiguration | None,
    health: Mapping[tuple[UUID, UUID], BackendHealth],
) -> Iterator[BackendStateView]:
    """What the data plane has, and the instances that it has not because they are not healthy."""
    told = {} if configuration is None else {backend.address: backend for backend in configuration.backends}
    present = {backend.address: backend for backend in found.backends}
    for address in sorted({*present, *told}, key=address_order):
        backend = told.get(address)
        verdict = None
        if configuration is not None and backend is not None:
            verdict = health.get((configuration.id, backend.instance_id))
        name = None if backend is None else expected.instances.get(backend.instance_id)
        yield _backend_view(found.key, present.get(address), backend, verdict, name)


def _backend_view(
    key: ServiceKey,
    found: VirtualBackendReport | None,
    told: Backend | None,
    verdict: BackendHealth | None,
    name: str | None,
) -> BackendStateView:
    health = None if verdict is None else verdict.health
    message = "" if verdict is None else verdict.message
    if found is None:
        assert told is not None
        return BackendStateView(
            address=told.address,
            port=key.port,
            method=told.method,
            weight=None,
            instance=name,
            health=health,
            message=message,
        )
    return BackendStateView(
        address=found.address,
        port=found.port or key.port,
        method=found.method,
        weight=found.weight,
        active_connections=found.active_connections,
        inactive_connections=found.inactive_connections,
        packets=found.traffic.packets,
        bytes=found.traffic.bytes,
        instance=name,
        health=found.health or health,
        message=message,
    )
