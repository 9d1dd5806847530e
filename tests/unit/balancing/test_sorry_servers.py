"""Sorry servers: their hypervisor takes their traffic before any LB node sends it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from bascule.balancing.desired import balancer_configuration, rules_by_hypervisor
from tests.unit.balancing.world import World, hypervisor, instance, service

SORRY = IPv4Address("10.9.9.9")


def world() -> World:
    """Its only service names a sorry server."""
    one = service(80)
    return World(services=(replace(one, health_check=replace(one.health_check, sorry_server=SORRY)),))


def test_its_hypervisor_gets_the_rule() -> None:
    """The rule stands beside those of the members, on the sorry server's own hypervisor."""
    inventory = replace(world().inventory(), fallbacks={SORRY: replace(instance(9, 2), address=SORRY)})
    rules = rules_by_hypervisor(inventory)
    assert SORRY in {rule.instance for rule in rules[hypervisor(2).id]}
    assert SORRY not in {rule.instance for rule in rules[hypervisor(1).id]}
    assert balancer_configuration(inventory, announced=True).services[0].health_check.sorry_server == SORRY


def test_one_that_is_no_instance_any_more_is_left_out() -> None:
    """Nobody would take what is sent to it."""
    inventory = world().inventory()
    assert SORRY not in {rule.instance for rules in rules_by_hypervisor(inventory).values() for rule in rules}
    assert balancer_configuration(inventory, announced=True).services[0].health_check.sorry_server is None
