"""From configurations and verdicts to what the node should do."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from bascule.agents.lb_node import serving
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import BalancerConfiguration
from bascule.model.errors import InvalidInput, Taken
from bascule.model.health_checks import Health
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ServiceKey
from tests.unit.agents.builders import VIP, backend, balancer, service


def health(**verdicts: Health) -> dict[TargetKey, Verdict]:
    """Verdicts on the instances of service 1, by `i<number>`."""
    return {TargetKey(UUID(int=1), UUID(int=int(name[1:]))): Verdict(verdict) for name, verdict in verdicts.items()}


def test_only_healthy_backends_serve_and_weight_zero_stays() -> None:
    """UNKNOWN and FAILURE are left out; a healthy backend of weight 0 is kept for its connections."""
    configuration = balancer(service(backend(4, weight=0), backend(3), backend(2), backend(1), backend(5)))
    verdicts = health(i1=Health.SUCCESS, i2=Health.FAILURE, i3=Health.UNKNOWN, i4=Health.SUCCESS)
    (virtual,) = serving.desire([configuration], verdicts, set()).services
    assert virtual.key == ServiceKey(VIP, Protocol.TCP, 80)
    assert [(str(each.address), each.weight, each.target_port) for each in virtual.backends] == [
        ("10.0.0.1", 1, 8080),
        ("10.0.0.4", 0, 8080),
    ]
    assert virtual.hash_seed == 42


def test_an_address_without_healthy_backends_is_still_announced() -> None:
    """Clients are refused at once by the data plane instead of waiting for nothing."""
    desired = serving.desire([balancer(service(backend(1)))], {}, set())
    assert desired.announced == {VIP}
    assert desired.services[0].backends == ()


def test_what_is_leaving_is_served_but_not_announced() -> None:
    """Withdraw before remove."""
    desired = serving.desire([balancer(service())], {}, {UUID(int=1)})
    assert desired.addresses == {VIP}
    assert desired.announced == frozenset()


def test_what_should_not_be_announced_is_not() -> None:
    """The control plane prepares a node before it draws traffic to it."""
    assert serving.desire([balancer(announced=False)], {}, set()).announced == frozenset()


def test_every_instance_of_every_service_is_checked() -> None:
    """Two services judge the same instance on their own."""
    configuration = balancer(service(backend(1), number=1), service(backend(1), number=2, port=81))
    keys = [target.key for target in serving.targets([configuration])]
    assert keys == [TargetKey(UUID(int=1), UUID(int=1)), TargetKey(UUID(int=2), UUID(int=1))]


WRONG = {
    "services.1.port": balancer(service(), service(number=2)),
    "services.0.port": balancer(service(port=0)),
    "services.0.target_port": balancer(replace(service(), target_port=70000)),
    "services.0.backends": balancer(service(backend(1, weight=101))),
    "hash_seed": replace(balancer(), hash_seed=-1),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_named(field: str) -> None:
    """What no data plane could carry is refused before it is saved."""
    with pytest.raises(InvalidInput) as refusal:
        serving.check([WRONG[field]])
    assert refusal.value.field == field


def test_two_load_balancers_cannot_hold_one_address() -> None:
    """The sentence names the other one."""
    others: list[BalancerConfiguration] = [balancer(number=1), balancer(number=2)]
    with pytest.raises(Taken, match=str(UUID(int=1))):
        serving.check(others)
    serving.check([others[0], replace(others[1], address=IPv4Address("192.0.2.2"))])
