"""Processes are killed and cables pulled while traffic goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from bascule.lab import faults, traffic
from bascule.lab.held import hold, lost
from bascule.lab.router import announcements
from bascule.lab.stream import Stream
from bascule.lab.waiting import wait_until
from bascule.model.addresses import IPAddress
from bascule.model.load_balancers import LoadBalancerState

from .conftest import SERVING, Balancer, instances

pytestmark = pytest.mark.lab

# Seconds: by then BGP alone, whose hold time is 9 s, would not have noticed.
_WITHOUT_BFD = 8.0


def test_forwarding_outlives_the_agent(balancer: Balancer) -> None:
    """A killed LB agent takes no packet with it; its successor resumes, and no connection is lost on the way."""
    with hold(balancer.lab, balancer.web, 40) as connections, Stream(balancer.lab, balancer.web) as stream:
        stream.wait_for_more(50)
        faults.kill(balancer.lab, "lb1-agent")
        stream.wait_for_more(200)
        faults.restart_agent(balancer.lab, "lb1")
        stream.wait_for_more(400)
        assert lost(connections) == []
    assert not stream.tally.failures
    assert announcements(balancer.lab)[balancer.vip] == ("lb1", "lb2")


def test_hypervisors_forward_without_their_agent(balancer: Balancer) -> None:
    """A killed hypervisor agent takes no packet with it, and neither does its successor's start."""
    with hold(balancer.lab, balancer.web, 40) as connections, Stream(balancer.lab, balancer.web) as stream:
        stream.wait_for_more(50)
        faults.kill(balancer.lab, "hv1-agent")
        stream.wait_for_more(100)
        faults.restart_agent(balancer.lab, "hv1")
        stream.wait_for_more(300)
        assert lost(connections) == []
    assert not stream.tally.failures


def test_a_killed_orchestrator_converges_after_restart(balancer: Balancer) -> None:
    """Changes made while the orchestrator dies again and again come true once it lives."""
    for size in (4, 2, 4):
        balancer.api.request_scale(size)
        faults.kill(balancer.lab, "control-orchestrator")
        faults.restart_orchestrator(balancer.lab)
    balancer.wait_until_answered_by(instances(balancer.lab, 4), timeout=40)
    assert balancer.describe().state is LoadBalancerState.RUNNING


def test_traffic_outlives_an_lb_node(both: list[Balancer]) -> None:
    """With an LB node off the network the other one carries all new connections, within what BGP needs to notice."""
    lab = both[0].lab
    streams = [Stream(lab, balancer.web, rate=100) for balancer in both]
    with ExitStack() as stack:
        for stream in streams:
            stack.enter_context(stream)
            stream.wait_for_more(50)
        faults.kill_node(lab, "lb1")
        wait_until(lambda: _routes(both) == {("lb2",)}, what="The routes' move", timeout=_WITHOUT_BFD)
        for stream in streams:
            stream.wait_for_more(200)
    for balancer, stream in zip(both, streams, strict=True):
        # What was inside the dead node is lost; a client's own retransmission makes up for it.
        assert sum(stream.tally.failures.values()) * 100 <= len(stream.tally.answers)
        after = traffic.send(lab, balancer.web, 300)
        assert not after.failures
        assert set(after.by_instance) == instances(lab, SERVING)


def test_open_connections_outlive_an_lb_node(
    both: list[Balancer], new_balancer: Callable[[str, int], Balancer]
) -> None:
    """Open connections of a dead LB node go on over the other one, to the instance they had."""
    lab = both[0].lab
    fresh = [new_balancer(f"fresh{family}", family) for family in lab.shape.families]
    try:
        with ExitStack() as stack:
            held = [stack.enter_context(hold(lab, balancer.web, 40)) for balancer in fresh]
            faults.kill_node(lab, "lb1")
            wait_until(lambda: _routes(fresh) == {("lb2",)}, what="The routes' move", timeout=_WITHOUT_BFD)
            assert [lost(connections) for connections in held] == [[], []]
    finally:
        faults.revive_node(lab, "lb1")
        for balancer in fresh:
            balancer.api.delete_load_balancer(balancer.id)


def test_bfd_notices_a_silent_node(both: list[Balancer]) -> None:
    """A node whose link stays up but which no longer speaks BFD loses its routes, though BGP's hold time never ends.

    Not both families' at once: BGP comes back after seconds, and BIRD lets it while BFD is still silent.
    """
    lab = both[0].lab
    moved: set[IPAddress] = set()

    def have_moved() -> bool:
        found = announcements(lab)
        moved.update(balancer.vip for balancer in both if found.get(balancer.vip) == ("lb2",))
        return len(moved) == len(both)

    faults.silence_routing(lab, "lb1")
    try:
        wait_until(have_moved, what="The routes' move")
    finally:
        faults.resume_routing(lab, "lb1")


def _routes(balancers: list[Balancer]) -> set[tuple[str, ...]]:
    """The LB nodes that the load balancers' addresses lead to."""
    found = announcements(balancers[0].lab)
    return {found.get(balancer.vip, ()) for balancer in balancers}
