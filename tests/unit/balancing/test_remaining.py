"""How many connections a draining instance has left."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from bascule.balancing.desired import balancer_configuration
from bascule.balancing.quiet import QUIET_FOR, Quiet
from bascule.balancing.remaining import Use, is_empty, remaining
from bascule.model.configurations import BalancerConfiguration
from bascule.model.reports import (
    BalancerReport,
    BalancerState,
    DataPlaneReport,
    LBNodeReport,
    Traffic,
    VirtualBackendReport,
    VirtualServiceReport,
)
from bascule.model.virtual_services import ServiceKey
from bascule.store.times import from_seconds
from tests.unit.balancing.world import LB_ID, VIP, World, instance, lb_node, service

DRAINS = replace(instance(1, 1), drained=True, drain_until=from_seconds(1e9))
LB1, LB2, ANOTHER = lb_node(1).id, lb_node(2).id, UUID(int=9)


def configuration(*, announced: bool = True) -> BalancerConfiguration:
    """What an LB node has been told: one instance drains, another serves."""
    world = World(members=(DRAINS, instance(2, 2)))
    hosts = tuple(replace(view, reachable=True) for view in world.inventory().hypervisors)
    return balancer_configuration(replace(world.inventory(), hypervisors=hosts), announced=announced)


def state(left: int | None, *, weight: int = 0, ready: bool = True) -> BalancerState:
    """What an LB node says: its data plane has the instance with this weight."""
    has = VirtualBackendReport(address=DRAINS.address, weight=weight, remaining=left)
    key = ServiceKey(VIP, service(80).protocol, 80)
    return BalancerState(
        data_plane_name="xdp",
        problems=(),
        balancer=BalancerReport(configuration=configuration(), ready=ready, announced=True),
        services=(VirtualServiceReport(key=key, backends=(has,)),),
    )


def use(load_balancer_id: UUID = LB_ID) -> Use:
    """By a service on two LB nodes."""
    return Use(load_balancer_id=load_balancer_id, service=service(80), holders=frozenset({LB1, LB2}))


def test_every_service_on_every_node_counts() -> None:
    """Of two load balancers that use the pool, too: the last connection of all is what counts."""
    states = {LB1: {LB_ID: state(0), ANOTHER: state(0)}, LB2: {LB_ID: state(0), ANOTHER: state(3)}}
    found = tuple(remaining(DRAINS, [use(), use(ANOTHER)], states))
    assert sorted(each.connections or 0 for each in found) == [0, 0, 0, 3]
    assert not is_empty(found)
    states[LB2][ANOTHER] = state(0)
    assert is_empty(tuple(remaining(DRAINS, [use(), use(ANOTHER)], states)))


@pytest.mark.parametrize(
    "unknown", [None, state(None), state(0, weight=1), state(0, ready=False), replace(state(0), services=())]
)
def test_what_is_not_known_is_not_empty(unknown: BalancerState | None) -> None:
    """A silent node, one that counts nothing, one that has not followed yet, or whose data plane shows nothing."""
    states = {LB1: {LB_ID: state(0)}, LB2: {} if unknown is None else {LB_ID: unknown}}
    found = tuple(remaining(DRAINS, [use()], states))
    assert [each.connections for each in found] == [0, None]
    assert not is_empty(found)


def test_whom_nobody_uses_is_empty() -> None:
    """There is nobody to ask."""
    assert is_empty(tuple(remaining(DRAINS, [], {})))


def report(packets: int, *, announced: bool = False) -> LBNodeReport:
    """Of an LB node that leaves its only load balancer."""
    told = configuration(announced=announced)
    counted = VirtualServiceReport(key=ServiceKey(VIP, service(80).protocol, 80), traffic=Traffic(packets=packets))
    return LBNodeReport(
        node="lb1",
        started_at=0.0,
        load_balancers=(BalancerReport(configuration=told, ready=True, announced=announced),),
        data_plane=DataPlaneReport(services=(counted,)),
    )


def test_a_node_is_quiet_when_it_counted_nothing_for_a_while() -> None:
    """Packets, an announcement, silence or a load balancer without another place begin the while anew."""
    for disturbance in (report(1000), report(0, announced=True), None):
        quiet = Quiet()
        assert not quiet.is_quiet(LB1, report(0), set(), {LB_ID}, 0.0)
        assert not quiet.is_quiet(LB1, disturbance, set(), {LB_ID}, QUIET_FOR - 1)
        assert not quiet.is_quiet(LB1, report(1000), set(), {LB_ID}, QUIET_FOR)
        assert quiet.is_quiet(LB1, report(1001), set(), {LB_ID}, 3 * QUIET_FOR)
        assert not quiet.is_quiet(LB1, report(1001), {LB_ID}, set(), 4 * QUIET_FOR)


def test_a_node_without_load_balancers_is_quiet() -> None:
    """There is nothing to wait for."""
    assert Quiet().is_quiet(LB1, replace(report(0), load_balancers=()), set(), {LB_ID}, 0.0)
