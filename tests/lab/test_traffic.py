"""Packets find their way through the LB nodes, and replies past them."""

from __future__ import annotations

import pytest

from bascule.lab import passage, traffic
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until
from bascule.model.strategies import Protocol

from .bulk import download, upload
from .conftest import SERVING, Balancer, instances

pytestmark = pytest.mark.lab
_BULK = 20_000_000


@pytest.mark.parametrize("protocol", list(Protocol))
def test_every_instance_answers_and_sees_the_client(either: Balancer, protocol: Protocol) -> None:
    """Every request through the VIP is answered, by every instance, each of which saw the client's own address."""
    target = either.web if protocol is Protocol.TCP else either.who
    everyone = instances(either.lab, SERVING)
    # Datagrams of slots that a change moved go to their old owner for up to a minute.
    wait_until(
        lambda: set(traffic.send(either.lab, target, 64).by_instance) == everyone,
        what="Answers of every instance",
        timeout=75,
    )
    tally = traffic.send(either.lab, target, 600)
    assert not tally.failures
    assert set(tally.by_instance) == everyone
    assert tally.disguised == 0


def test_replies_pass_no_lb_node(either: Balancer) -> None:
    """Not one reply comes back through an LB node, and every LB node carries requests."""
    before = passage.read(either.lab)
    tallies = [traffic.send(either.lab, target, 300) for target in (either.web, either.who)]
    passed = passage.read(either.lab).since(before)
    assert not any(tally.failures for tally in tallies)
    assert passed.direct
    assert passed.tunnelled_from_lb_nodes[0] > 0


def test_direct_connections_are_left_alone(either: Balancer) -> None:
    """Connections straight to an instance's address and target port work as without a load either."""
    host = either.lab.topology.host("vm1")
    for protocol in Protocol:
        tally = traffic.send(either.lab, Target(protocol, host.address, 8080), 100)
        assert tally.by_instance == {"vm1": 100}
        assert tally.disguised == 0


def test_bulk_download(either: Balancer) -> None:
    """20 MB come down with the right bytes, and past the LB nodes."""
    before = passage.read(either.lab)
    assert download(either.lab, either.web, _BULK)
    assert passage.read(either.lab).since(before).direct


def test_bulk_upload(either: Balancer) -> None:
    """20 MB go up through an LB node with the right bytes."""
    assert upload(either.lab, either.web, _BULK)
