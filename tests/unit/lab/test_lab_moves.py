"""Instances that live elsewhere than where they began."""

from __future__ import annotations

from ipaddress import ip_network

from bascule.lab.moves import cable_of, moved
from bascule.lab.shape import Shape
from bascule.lab.topology import Topology, data_centre


def interfaces_towards(topology: Topology, host: str, instance: str) -> set[str]:
    """Where a host sends an instance's packets."""
    theirs = {ip_network(address) for address in topology.host(instance).addresses.values()}
    return {route.interface for route in topology.host(host).routes if route.destination in theirs}


def test_cable_and_routes_follow() -> None:
    """After a move only the new hypervisor has a route of its own to the instance, and the router leads there."""
    after = moved(data_centre(Shape()), "vm1", "hv2")
    assert after.host("vm1").uplink == cable_of(after, "vm1").upper.host == "hv2"
    assert interfaces_towards(after, "hv1", "vm1") == set()
    assert interfaces_towards(after, "hv2", "vm1") == {"vm1"}
    assert interfaces_towards(after, "router", "vm1") == {"hv2"}
    assert interfaces_towards(after, "hv1", "vm2") == {"vm2"}


def test_a_move_to_where_it_is_changes_no_way() -> None:
    """Moving an instance to its own hypervisor, or away and back, leaves every route as it was."""
    before = data_centre(Shape())
    back = moved(moved(before, "vm1", "hv2"), "vm1", "hv1")
    for after in (moved(before, "vm1", "hv1"), back):
        assert {host.name: set(host.routes) for host in after.hosts} == {
            host.name: set(host.routes) for host in before.hosts
        }
        assert after.links == before.links
