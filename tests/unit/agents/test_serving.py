"""From configurations and verdicts to what the node should do."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from bascule.agents.lb_node import quorum, serving
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import BalancerConfiguration
from bascule.model.errors import InvalidInput, Taken
from bascule.model.health_checks import Health, HealthCheckMode, OnFailure
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


def weights(configuration: BalancerConfiguration, verdicts: dict[TargetKey, Verdict], *, up: bool) -> dict[str, int]:
    """What the only service sends traffic to, by address."""
    (virtual,) = serving.desire([configuration], verdicts, set(), {UUID(int=1): up}).services
    return {str(each.address): each.weight for each in virtual.backends}


def checked(**options: object) -> BalancerConfiguration:
    """A service of three instances, whose health check has these options."""
    one = service(backend(1, weight=5), backend(2, weight=5), backend(3, weight=5))
    return balancer(replace(one, health_check=replace(one.health_check, **options)))  # type: ignore[arg-type]


def test_inhibited_backends_keep_their_connections() -> None:
    """With `inhibit` a failed backend stays with weight 0; one never judged is left out all the same."""
    verdicts = health(i1=Health.SUCCESS, i2=Health.FAILURE)
    assert weights(checked(on_failure=OnFailure.INHIBIT), verdicts, up=True) == {"10.0.0.1": 5, "10.0.0.2": 0}
    assert weights(checked(), verdicts, up=True) == {"10.0.0.1": 5}


def test_a_draining_backend_keeps_its_connections_whatever_its_check_says() -> None:
    """Ill, never judged, or while the sorry server serves: whoever is given weight 0 has it, and no other."""
    drains = service(backend(1, weight=0), backend(2))
    for health_of_it in Health:
        for sorry in (None, IPv4Address("10.0.0.9")):
            check = replace(drains.health_check, sorry_server=sorry)
            found = weights(balancer(replace(drains, health_check=check)), health(i1=health_of_it), up=False)
            assert found["10.0.0.1"] == 0


def test_a_check_gives_no_share_to_who_drains() -> None:
    """A script may say 50."""
    configuration = balancer(service(backend(1, weight=0)))
    verdicts = {TargetKey(UUID(int=1), UUID(int=1)): Verdict(Health.SUCCESS, weight=50)}
    assert weights(configuration, verdicts, up=True) == {"10.0.0.1": 0}
    assert quorum.quorums([configuration], verdicts, {}) == {UUID(int=1): False}


def test_a_checks_weight_replaces_the_given_one() -> None:
    """What the check found counts, 0 included."""
    verdicts = health(i1=Health.SUCCESS, i2=Health.SUCCESS, i3=Health.SUCCESS)
    verdicts[TargetKey(UUID(int=1), UUID(int=1))] = Verdict(Health.SUCCESS, weight=0)
    verdicts[TargetKey(UUID(int=1), UUID(int=2))] = Verdict(Health.SUCCESS, weight=70)
    assert weights(checked(), verdicts, up=True) == {"10.0.0.1": 0, "10.0.0.2": 70, "10.0.0.3": 5}


def test_without_quorum_the_sorry_server_serves_alone() -> None:
    """Healthy backends are left out then, or inhibited; with quorum, or without a sorry server, they serve."""
    verdicts = health(i1=Health.SUCCESS, i2=Health.FAILURE, i3=Health.FAILURE)
    sorry = IPv4Address("10.0.0.9")
    assert weights(checked(sorry_server=sorry), verdicts, up=False) == {"10.0.0.9": 1}
    assert weights(checked(sorry_server=sorry), verdicts, up=True) == {"10.0.0.1": 5}
    assert weights(checked(), verdicts, up=False) == {"10.0.0.1": 5}
    inhibiting = checked(sorry_server=sorry, on_failure=OnFailure.INHIBIT)
    assert weights(inhibiting, verdicts, up=False) == {"10.0.0.1": 0, "10.0.0.2": 0, "10.0.0.3": 0, "10.0.0.9": 1}


def test_a_sorry_server_may_be_a_member_too() -> None:
    """It serves with weight 1 then, whatever its own check says."""
    configuration = checked(sorry_server=IPv4Address("10.0.0.2"), on_failure=OnFailure.INHIBIT)
    assert weights(configuration, health(i2=Health.FAILURE), up=False) == {"10.0.0.2": 1}


BAD_CHECKS: dict[str, dict[str, object]] = {
    "port": {"port": 0},
    "interval": {"interval": 0},
    "timeout": {"timeout": 0},
    "rise": {"rise": 0},
    "warm_up": {"warm_up": -1},
    "hysteresis": {"hysteresis": 1},
    "script": {"mode": HealthCheckMode.SCRIPT, "script": "../sh"},
    "uri": {"mode": HealthCheckMode.HTTP, "uri": "/ HTTP/1.1\r\nX: y"},
    "body_pattern": {"mode": HealthCheckMode.HTTP, "uri": "/", "body_pattern": "("},
    "smtp_helo": {"mode": HealthCheckMode.SMTP, "smtp_helo": "a\r\nMAIL FROM:<b>"},
    "udp_payload": {"mode": HealthCheckMode.UDP, "udp_payload": "zz"},
    "dns_type": {"mode": HealthCheckMode.DNS, "dns_type": "AXFR"},
}


@pytest.mark.parametrize("name", BAD_CHECKS)
def test_a_wrong_health_check_is_refused_by_the_agent_too(name: str) -> None:
    """The agent does not trust the control plane with what it runs and sends."""
    with pytest.raises(InvalidInput) as refusal:
        serving.check([checked(**BAD_CHECKS[name])])
    assert refusal.value.field == f"services.0.health_check.{name}"
