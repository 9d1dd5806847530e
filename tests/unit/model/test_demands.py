"""What services ask of data planes, and the sentences that say why none has it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from bascule.model import demands
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.demands import of_address, of_service, unmet
from bascule.model.load_balancers import Service
from bascule.model.strategies import ALIASES, Strategy
from bascule.model.virtual_services import ForwardingMethod, Persistence
from tests.unit.balancing.world import instance, service

XDP, IPVS, KEEPALIVED = DataPlaneName.XDP, DataPlaneName.IPVS, DataPlaneName.KEEPALIVED


def with_rise(one: Service) -> Service:
    """A service whose instances need two good checks."""
    return replace(one, health_check=replace(one.health_check, rise=2))


def test_an_ordinary_service_asks_for_nothing() -> None:
    """What every data plane has is no demand."""
    assert of_service(service(80)) == ()
    assert demands.carriers(()) == frozenset(DataPlaneName)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"strategy": Strategy.WEIGHTED_LEAST_CONNECTIONS}, "strategy"),
        ({"forwarding_method": ForwardingMethod.DIRECT}, "forwarding-method"),
        ({"forwarding_method": ForwardingMethod.TRANSLATION}, "forwarding-method"),
        ({"persistence": Persistence(timeout=300)}, "persistence"),
    ],
)
def test_xdp_lacks_what_ipvs_has(change: dict[str, object], field: str) -> None:
    """The field is named, who asks, and which data planes have it."""
    asked = of_service(replace(service(80), **change))  # type: ignore[arg-type]
    assert unmet(asked, {IPVS}) is None
    problem = unmet(asked, {XDP})
    assert problem is not None
    assert problem[0] == field
    assert problem[1].startswith(asked[0].words[0].upper() + asked[0].words[1:])
    assert "ipvs" in problem[1]


def test_an_instance_may_ask_for_a_method_of_its_own() -> None:
    """One member that is reached directly is enough."""
    direct = replace(instance(1, 1), forwarding_method=ForwardingMethod.DIRECT)
    assert [each.field for each in of_service(service(80), (direct, instance(2, 2)))] == ["forwarding-method"]


def test_what_no_single_data_plane_has_together_is_refused_with_both() -> None:
    """Each demand could be met by one of the nodes, both by none: the sentence names both."""
    one = with_rise(replace(service(80), strategy=Strategy.NEVER_QUEUE))
    problem = unmet(of_service(one), {XDP, KEEPALIVED})
    assert problem is not None
    assert problem[0] == "healthcheck.rise"
    assert "rise 2" in problem[1]
    assert "strategy nq" in problem[1]
    assert unmet(of_service(one), {XDP, IPVS}) is None


def test_an_address_asks_for_its_family() -> None:
    """IPv4 is everywhere; IPv6 is where a data plane says so."""
    assert of_address(IPv4Address("192.0.2.1")) == ()
    able = {name for name, has in CAPABILITIES.items() if 6 in has.families}
    assert demands.carriers(of_address(ip_address("2001:db8::1"))) == able


def test_no_alias_hides_a_strategy() -> None:
    """A name means one thing."""
    assert not set(ALIASES) & {strategy.value for strategy in Strategy}
