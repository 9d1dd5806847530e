"""The rules by which LB nodes may send, on both databases."""

from __future__ import annotations

from ipaddress import ip_address

from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol
from bascule.store import changes, given_rules, hypervisors, load_balancers
from bascule.store.database import Database, open_database
from tests.integration.expected_state import create_load_balancer, create_pool
from tests.unit.balancing.world import hypervisor

HOST = hypervisor(7)
RULE = ForwardingRule(ip_address("203.0.113.7"), Protocol.TCP, 80, ip_address("10.0.0.1"), 8080)
RULES = {HOST.id: frozenset([RULE])}


def test_rules_are_told_unless_they_are_those_of_the_latest_generation(database_url: str) -> None:
    """At rest nothing is read; after a change the former rules are there, whatever became of what they came from."""
    engine = open_database(database_url)
    with Database(engine).write() as connection:
        hypervisors.insert(connection, HOST)
        found, _ = create_load_balancer(connection, create_pool(connection, (HOST,)), now=0.0)
        assert given_rules.unsettled(connection, [found]) == {found: {}}
        given_rules.replace(connection, found, RULES, generation=None)
        assert given_rules.unsettled(connection, [found]) == {found: RULES}
        given_rules.replace(connection, found, RULES, generation=1)
        assert given_rules.unsettled(connection, [found]) == {}
        changes.to_load_balancer(connection, found, command="update", now=1.0)
        assert given_rules.unsettled(connection, [found]) == {found: RULES}
        load_balancers.delete(connection, found)
        assert given_rules.unsettled(connection, [found]) == {}
    engine.dispose()
