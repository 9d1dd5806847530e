"""A lab whose LB nodes are on one segment and share the addresses by VRRP."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bascule.lab import faults, traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.router import announcements
from bascule.lab.shape import AnnouncerName, Shape
from bascule.lab.state import Lab
from bascule.lab.waiting import wait_until

from .conftest import Balancer, build_lab, create_balancer, instances

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture
def segment() -> Iterator[Lab]:
    """A lab of its own: the usual one speaks BGP."""
    yield from build_lab(f"vrrp{os.getpid()}", Shape(announcer=AnnouncerName.VRRP, instances_per_hypervisor=2))


def carried_by(balancers: list[Balancer], *nodes: str) -> bool:
    """Whether each address is on one of these nodes, and every node has one."""
    found = announcements(balancers[0].lab)
    carriers = [found.get(balancer.vip, ()) for balancer in balancers]
    return all(len(each) == 1 for each in carriers) and {each[0] for each in carriers} == set(nodes)


def test_traffic_moves_with_its_address(segment: Lab) -> None:
    """Two nodes share the addresses; when one dies the other one carries all, and when it comes back they share again.

    What becomes of open connections is the data planes' matter, whose rings may still be settling here.
    """
    with ControlPlane(segment) as api:
        balancers = [
            create_balancer(segment, api, f"vrrp{family}{number}", family)
            for family in segment.shape.families
            for number in (1, 2)
        ]
        wait_until(lambda: carried_by(balancers, "lb1", "lb2"), what="An even share")
        faults.kill_node(segment, "lb1")
        wait_until(lambda: on_one_node(balancers, "lb2"), what="All addresses at lb2")
        answered(balancers)
        faults.revive_node(segment, "lb1")
        wait_until(lambda: carried_by(balancers, "lb1", "lb2"), what="An even share again", timeout=60)
        answered(balancers)


def on_one_node(balancers: list[Balancer], node: str) -> bool:
    """Whether a node has all of them, whatever the other, which nobody reaches, has."""
    found = announcements(balancers[0].lab)
    return all(node in found.get(balancer.vip, ()) for balancer in balancers)


def answered(balancers: list[Balancer]) -> None:
    """Every load balancer answers by all of its instances."""
    for balancer in balancers:
        tally = traffic.send(balancer.lab, balancer.web, 64, timeout=5)
        assert (set(tally.by_instance), sum(tally.failures.values())) == (instances(balancer.lab, 3), 0)
