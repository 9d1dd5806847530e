"""A load balancer as the kernels of its LB nodes have it, through the operators' API."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from uuid import UUID

from bascule.balancing.desired import balancer_configuration
from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.inventory import HypervisorView, Inventory
from bascule.balancing.watch import Watch
from bascule.clock import SystemClock
from bascule.model.nodes import LBNode
from bascule.model.reports import DataPlaneReport, Traffic, VirtualBackendReport, VirtualServiceReport
from bascule.model.virtual_services import ForwardingMethod, ServiceKey
from bascule.store import hypervisors, instance_pools, lb_nodes, load_balancers, node_states, placements
from tests.unit.api.installation import Installation, created


def carried(api: Installation, load_balancer: str, *, runs: str = "xdp", silent_for: float = 0) -> LBNode:
    """Let the only LB node carry a load balancer, and the orchestrator see it so many seconds ago."""
    with api.database.write() as connection:
        (node,) = lb_nodes.list_all(connection)
        placements.replace(connection, UUID(load_balancer), frozenset([node.id]))
        inventory = Inventory(
            load_balancer=load_balancers.get(connection, UUID(load_balancer)),
            epoch=1,
            pools=instance_pools.for_load_balancer(connection, UUID(load_balancer)),
            placements=frozenset([node.id]),
            loads={},
            lb_nodes=(),
            hypervisors=tuple(
                HypervisorView(hypervisor=each, reachable=True) for each in hypervisors.list_all(connection)
            ),
        )
    agents = FakeAgents()
    machine = agents.node(node.id)
    machine.data_plane_name = runs
    configuration = balancer_configuration(inventory, announced=True)
    machine.balancers[configuration.load_balancer_id] = configuration
    (service,) = configuration.services
    key = ServiceKey(configuration.address, service.protocol, service.port)
    first = service.backends[0]
    backend = VirtualBackendReport(
        address=first.address,
        weight=3,
        traffic=Traffic(packets=7, bytes=900),
        active_connections=2,
        inactive_connections=1,
        method=ForwardingMethod.DIRECT,
        port=80,
    )
    here = VirtualServiceReport(key=key, scheduler="wlc", traffic=Traffic(packets=8, bytes=950), backends=(backend,))
    elsewhere = replace(here, key=replace(key, address=key.address + 1))
    machine.data_plane = DataPlaneReport(services=(here, elsewhere))
    watch = Watch(database=api.database, agents=agents, clock=_Earlier(silent_for), interval=1, sweep=60)
    asyncio.run(watch.run_once())
    return node


class _Earlier(SystemClock):
    """It was so many seconds ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        """Then."""
        return super().now() - self._seconds


def test_it_shows_what_the_kernel_has_beside_what_was_asked_for(api: Installation) -> None:
    """Connections, packets and bytes of each backend; an instance that the kernel has not has no weight."""
    pool, load_balancer = api.pool(members=2), api.load_balancer()
    api.service(load_balancer, pool)
    node = carried(api, load_balancer)
    state = api.operators.get(f"/admin/v1/load-balancers/{load_balancer}/state").json()
    (shown,) = state["lb-nodes"]
    assert (shown["name"], shown["answers"], shown["ready"], shown["announced"]) == (node.name, True, True, True)
    (service,) = shown["services"]
    assert (service["name"], service["scheduler"], service["packets"], service["bytes"]) == ("http", "wlc", 8, 950)
    first, second = service["backends"]
    assert (first["instance"], first["method"], first["port"], first["weight"]) == ("web-0", "direct", 80, 3)
    assert (first["active-connections"], first["inactive-connections"]) == (2, 1)
    assert (first["packets"], first["bytes"]) == (7, 900)
    assert (second["instance"], second["weight"], second["method"]) == ("web-1", None, "tunnel")


def test_a_node_that_does_not_answer_is_named(api: Installation) -> None:
    """What it had last is shown with its age; one that was never seen says so."""
    pool, load_balancer = api.pool(), api.load_balancer()
    api.service(load_balancer, pool)
    path = f"/admin/v1/load-balancers/{load_balancer}/state"
    node = carried(api, load_balancer, silent_for=60)
    (shown,) = api.operators.get(path).json()["lb-nodes"]
    assert (shown["name"], shown["answers"], len(shown["services"])) == (node.name, False, 1)
    assert re.search(r"last seen 6\d s ago", shown["problems"][0]), "or a little later, on a busy machine"
    with api.database.write() as connection:
        node_states.forget_node(connection, node.id)
    (shown,) = api.operators.get(path).json()["lb-nodes"]
    assert (shown["answers"], shown["services"]) == (False, [])
    assert "has not been seen" in shown["problems"][0]


def test_it_tells_of_instances_and_nodes_that_do_not_fit(api: Installation) -> None:
    """An instance of the other family is left out, an agent runs another data plane than its node's."""
    pool, load_balancer = api.pool(), api.load_balancer()
    api.service(load_balancer, pool)
    carried(api, load_balancer, runs="ipvs")
    member = {"name": "six", "address": "2001:db8:1::1", "hypervisor": "hv-1"}
    created(api.operators.post(f"/admin/v1/instance-pools/{pool}/instances", json=member))
    state = api.operators.get(f"/admin/v1/load-balancers/{load_balancer}/state").json()
    assert "six (2001:db8:1::1) cannot serve http" in state["remarks"][0]
    assert state["lb-nodes"][0]["data-plane"] == "ipvs"
    assert "registered with the data plane xdp" in state["lb-nodes"][0]["problems"][0]


def test_it_tells_why_too_few_nodes_carry_it(api: Installation) -> None:
    """One of two nodes can: the state says what asks for more."""
    agent = {"agent-url": "http://192.0.2.9:7701", "agent-token": "a-token-of-an-agent", "data-plane": "ipvs"}
    created(api.operators.post("/admin/v1/lb-nodes", json={"name": "lb-2", **agent}))
    load_balancer = api.load_balancer()
    api.service(load_balancer, api.pool(), strategy="wlc")
    state = api.operators.get(f"/admin/v1/load-balancers/{load_balancer}/state").json()
    assert state["remarks"] == ["Only lb-2 can carry it: it asks for strategy wlc (only with ipvs or keepalived)."]


def test_one_that_is_placed_nowhere_has_no_nodes(api: Installation) -> None:
    """And one that does not exist is 404."""
    state = api.operators.get(f"/admin/v1/load-balancers/{api.load_balancer()}/state").json()
    assert state["lb-nodes"] == []
    missing = "00000000-0000-4000-8000-000000000000"
    assert api.operators.get(f"/admin/v1/load-balancers/{missing}/state").status_code == 404
