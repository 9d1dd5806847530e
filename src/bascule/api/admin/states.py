"""/admin/v1/load-balancers/{id}/state: what the LB nodes' kernels have of a load balancer, asked of them now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from bascule.api.context import Context, Ctx
from bascule.balancing.desired import demands_of, left_out
from bascule.balancing.remarks import mismatch, too_few
from bascule.model.addresses import address_order
from bascule.model.configurations import Backend, ServiceConfiguration
from bascule.model.errors import BasculeError
from bascule.model.instance_pools import InstancePool
from bascule.model.load_balancers import LoadBalancer
from bascule.model.nodes import LBNode
from bascule.model.reports import (
    BackendHealth,
    BalancerReport,
    LBNodeReport,
    VirtualBackendReport,
    VirtualServiceReport,
)
from bascule.model.virtual_services import ServiceKey
from bascule.store import instance_pools, lb_nodes, load_balancers, placements
from bascule.wire.admin_v1_state import BackendStateView, LoadBalancerStateView, NodeStateView, ServiceStateView

router = APIRouter(prefix="/admin/v1", tags=["operators: load balancers"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What the store says."""

    load_balancer: LoadBalancer
    pools: Mapping[UUID, InstancePool]
    nodes: tuple[LBNode, ...]
    remarks: tuple[str, ...]

    @property
    def instances(self) -> dict[UUID, str]:
        """The names of the instances."""
        return {member.id: member.name for pool in self.pools.values() for member in pool.members}


@router.get("/load-balancers/{id}/state")
async def get_load_balancer_state(context: Ctx, id: UUID) -> LoadBalancerStateView:  # noqa: A002
    """Virtual servers, backends, weights, connections, packets and bytes, by LB node, as the kernels count them."""
    expected = await run_in_threadpool(_expect, context, id)
    nodes = await asyncio.gather(*(_ask(context, expected, node) for node in expected.nodes))
    name, remarks = expected.load_balancer.name, list(expected.remarks)
    return LoadBalancerStateView(id=id, name=name, remarks=remarks, lb_nodes=list(nodes))


def _expect(context: Context, load_balancer_id: UUID) -> _Expected:
    with context.database.read() as connection:
        placed, nodes = placements.of(connection, load_balancer_id), lb_nodes.list_all(connection)
        load_balancer = load_balancers.get(connection, load_balancer_id)
        pools = instance_pools.for_load_balancer(connection, load_balancer_id)
    demanded = demands_of(load_balancer, pools, {})
    return _Expected(
        load_balancer=load_balancer,
        pools=pools,
        nodes=tuple(node for node in nodes if node.id in placed),
        remarks=(*too_few(demanded, nodes), *left_out(load_balancer, pools)),
    )


async def _ask(context: Context, expected: _Expected, node: LBNode) -> NodeStateView:
    try:
        report = await context.agents.lb_node_report(node)
    except BasculeError as error:
        return NodeStateView(
            lb_node=node.id,
            name=node.name,
            data_plane=node.data_plane,
            answers=False,
            problems=[error.sentence],
            services=[],
        )
    return _node_view(expected, node, report)


def _node_view(expected: _Expected, node: LBNode, report: LBNodeReport) -> NodeStateView:
    carried = [
        each for each in report.load_balancers if each.configuration.load_balancer_id == expected.load_balancer.id
    ]
    balancer = carried[0] if carried else None
    return NodeStateView(
        lb_node=node.id,
        name=node.name,
        data_plane=report.data_plane_name or node.data_plane,
        answers=True,
        ready=balancer is not None and balancer.ready,
        announced=balancer is not None and balancer.announced,
        problems=[*mismatch(node, report.data_plane_name), *report.problems],
        services=list(_services(expected, balancer, report)),
    )


def _services(expected: _Expected, balancer: BalancerReport | None, report: LBNodeReport) -> Iterator[ServiceStateView]:
    """What the data plane has and what it was told, each service once."""
    address = expected.load_balancer.address
    present = {each.key: each for each in report.data_plane.services if each.key.address == address}
    told = {} if balancer is None else {_key(balancer, each): each for each in balancer.configuration.services}
    names = {service.id: service.name for service in expected.load_balancer.services}
    health = {} if balancer is None else {(each.service_id, each.instance_id): each for each in balancer.health}
    for key in sorted({*present, *told}):
        found, configuration = present.get(key, VirtualServiceReport(key=key)), told.get(key)
        yield ServiceStateView(
            name=None if configuration is None else names.get(configuration.id),
            protocol=key.protocol,
            address=key.address,
            port=key.port,
            scheduler=found.scheduler,
            packets=found.traffic.packets,
            bytes=found.traffic.bytes,
            backends=list(_backends(expected, found, configuration, health)),
        )


def _key(balancer: BalancerReport, service: ServiceConfiguration) -> ServiceKey:
    return ServiceKey(balancer.configuration.address, service.protocol, service.port)


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
