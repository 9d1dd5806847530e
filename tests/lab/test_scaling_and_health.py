"""Traffic follows the pool's size and the instances' health."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from bascule.client.clients import AdminClient
from bascule.lab import faults, traffic
from bascule.lab.control_plane import healthy
from bascule.lab.held import hold, lost
from bascule.lab.state import Lab
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until

from .conftest import SERVING, Balancer, instances

pytestmark = pytest.mark.lab


def test_traffic_follows_the_pools_size(balancer: Balancer) -> None:
    """A pool scaled up is answered by the new instance too, and scaled down no longer by it."""
    balancer.api.scale(4)
    balancer.wait_until_answered_by(instances(balancer.lab, 4))
    balancer.api.scale(2, drain_deadline=0)
    balancer.wait_until_answered_by(instances(balancer.lab, 2))


@pytest.mark.usefixtures("balancer")  # it makes the lab whole
def test_a_pool_that_shrinks_and_an_lb_node_that_drains_break_no_connection(
    lab: Lab, new_balancer: Callable[[str, int], Balancer]
) -> None:
    """Open ones stay where they are, new ones go to those that serve; what drains is counted."""
    balancer = new_balancer("drained", 4)  # one whose slots remember nothing
    balancer.wait_until_answered_by(instances(lab, SERVING))
    with hold(lab, balancer.web, 60) as connections, AdminClient(lab.api_url, lab.admin_token) as admin:
        balancer.api.scale(2)

        def counted() -> int:
            found = admin.drains.show().instances
            return sum(each.connections or 0 for each in found if each.name == "vm3")

        wait_until(lambda: set(traffic.send(lab, balancer.web, 64).by_instance) == instances(lab, 2), what="Two")
        assert lost(connections) == []
        wait_until(lambda: counted() > 0, what="The count of what remains")
        node = next(each for each in admin.lb_nodes.list_all() if each.name == "lb1")
        admin.drains.drain(f"lb-nodes/{node.id}")
        try:
            wait_until(lambda: not admin.lb_nodes.get(node.id).load_balancers, what="The end of the drain", timeout=60)
            assert lost(connections) == []
        finally:
            admin.drains.undrain(f"lb-nodes/{node.id}")
            balancer.api.delete_load_balancer(balancer.id)


def test_an_unhealthy_instance_gets_no_connections(balancer: Balancer) -> None:
    """An instance that fails its checks leaves the table, the API says which, and it returns once it is well."""
    address = str(balancer.lab.topology.host("vm2").address)
    faults.set_health(balancer.lab, "vm2", healthy=False)
    balancer.wait_until_answered_by(instances(balancer.lab, SERVING) - {"vm2"})
    _wait_for_health(balancer, address, well=False)
    faults.set_health(balancer.lab, "vm2", healthy=True)
    balancer.wait_until_answered_by(instances(balancer.lab, SERVING))
    _wait_for_health(balancer, address, well=True)


def test_a_killed_instance_is_left_out(balancer: Balancer) -> None:
    """An instance whose server dies leaves the table within seconds."""
    faults.kill(balancer.lab, "vm1-server")
    balancer.wait_until_answered_by(instances(balancer.lab, SERVING) - {"vm1"})


def test_without_a_healthy_instance_connections_are_refused(balancer: Balancer) -> None:
    """With no healthy instance left, a client is refused at once instead of waiting for an answer."""
    for name in instances(balancer.lab, SERVING):
        faults.set_health(balancer.lab, name, healthy=False)

    for target in (balancer.web, balancer.who):
        wait_until(
            partial(_refuses, balancer, target),
            what=f"A refusal of every request to {target}",
        )


def _wait_for_health(balancer: Balancer, address: str, *, well: bool) -> None:
    def shown() -> bool:
        described = balancer.describe()
        return all(healthy(described, service).get(address) is well for service in ("web", "who"))

    wait_until(shown, what=f"The health of {address} in the API")


def _refuses(balancer: Balancer, target: Target) -> bool:
    return traffic.send(balancer.lab, target, 16, timeout=2).failures == {"Connection refused": 16}
