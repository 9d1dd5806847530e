"""Traffic follows the pool's size and the instances' health."""

from __future__ import annotations

from functools import partial

import pytest

from bascule.lab import faults, traffic
from bascule.lab.control_plane import healthy
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until

from .conftest import SERVING, Balancer, instances

pytestmark = pytest.mark.lab


def test_traffic_follows_the_pools_size(balancer: Balancer) -> None:
    """A pool scaled up is answered by the new instance too, and scaled down no longer by it."""
    balancer.api.scale(4)
    balancer.wait_until_answered_by(instances(balancer.lab, 4))
    balancer.api.scale(2)
    balancer.wait_until_answered_by(instances(balancer.lab, 2))


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
