"""The rules of all load balancers, merged."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import pytest

from bascule.agents.hypervisor import translation
from bascule.model.configurations import ForwardingConfiguration, ForwardingRule, Version
from bascule.model.errors import InvalidInput, Taken
from bascule.model.strategies import Protocol


def rule(last: int = 1, *, port: int = 80, target_port: int = 8080) -> ForwardingRule:
    return ForwardingRule(IPv4Address(f"192.0.2.{last}"), Protocol.TCP, port, IPv4Address("10.0.0.1"), target_port)


def configuration(number: int, *rules: ForwardingRule) -> ForwardingConfiguration:
    return ForwardingConfiguration(load_balancer_id=UUID(int=number), version=Version(1, 1), rules=rules)


def test_rules_of_all_load_balancers_are_in_force_together() -> None:
    """One set for the driver, whoever the rules are for."""
    merged = translation.merge([configuration(1, rule(1), rule(1, port=81)), configuration(2, rule(2))])
    assert merged == {rule(1), rule(1, port=81), rule(2)}


def test_one_address_belongs_to_one_load_balancer() -> None:
    """The sentence names the one that holds it."""
    with pytest.raises(Taken, match=str(UUID(int=1))):
        translation.check([configuration(1, rule(1)), configuration(2, rule(1, port=81))])


@pytest.mark.parametrize(
    "wrong",
    [
        (rule(port=0),),
        (rule(target_port=65536),),
        (rule(target_port=1), rule(target_port=2)),
        (replace(rule(), instance=IPv6Address("2001:db8::1")),),
    ],
)
def test_rules_that_no_driver_could_follow_are_refused(wrong: tuple[ForwardingRule, ...]) -> None:
    """Ports out of range, two answers to one question, and an instance of the other family."""
    with pytest.raises(InvalidInput):
        translation.check([configuration(1, *wrong)])
