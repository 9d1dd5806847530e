"""Next hops as the kernel has them, and the events that tell of their changes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bascule.system.neighbours import NextHop, NextHops
from bascule.system.route_watch import RouteWatch
from tests.bpf.balancer_bench import ROUTER_MAC, Bench, reason_to_skip

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]

BEHIND, BESIDE = IPv4Address("10.128.0.1"), IPv4Address("10.0.0.7")
ROUTER = IPv4Address("10.0.0.2")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


def resolve(bench: Bench, hops: NextHops, address: IPv4Address) -> NextHop | None:
    """The next hop of one address."""
    return bench.inside(lambda: hops.resolve({address}))[address]


def test_an_address_behind_a_router(bench: Bench) -> None:
    """The next hop is the router, with its MAC and the interface's MTU."""
    hop = resolve(bench, NextHops(), BEHIND)
    assert hop is not None
    assert (hop.neighbour, hop.mtu, hop.is_veth) == (ROUTER, 1500, True)
    assert hop.mac == bytes.fromhex(ROUTER_MAC.replace(":", ""))


def test_a_route_may_have_a_smaller_mtu(bench: Bench) -> None:
    """The route's MTU counts when it is below the interface's."""
    bench.ip("route replace 10.128.0.0/16 via 10.0.0.2 mtu 1400")
    hop = resolve(bench, NextHops(), BEHIND)
    assert hop is not None
    assert hop.mtu == 1400


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "127.0.0.1"])
def test_nowhere_to_send_to(bench: Bench, address: str) -> None:
    """No route, the node itself, or a link without MACs: there is no next hop."""
    assert resolve(bench, NextHops(), IPv4Address(address)) is None


def test_a_neighbour_never_heard_of_has_no_mac(bench: Bench) -> None:
    """Until it answers, there is nothing to write into a frame."""
    hop = resolve(bench, NextHops(), BESIDE)
    assert hop is not None
    assert hop.mac is None


def test_a_forgotten_neighbour_keeps_its_mac_and_a_failed_one_does_not(bench: Bench) -> None:
    """The kernel forgets idle neighbours, which are most likely where they were."""
    hops = NextHops()
    before = resolve(bench, hops, BEHIND)
    bench.ip("neigh del 10.0.0.2 dev eth0")
    assert resolve(bench, hops, BEHIND) == before
    bench.ip("neigh replace 10.0.0.2 dev eth0 nud failed")
    failed = resolve(bench, hops, BEHIND)
    assert failed is not None
    assert failed.mac is None


def test_changes_are_told(bench: Bench) -> None:
    """A neighbour's change is told as such, a route's or link's as one that concerns routes."""
    told: queue.Queue[bool] = queue.Queue()
    with closing(bench.inside(lambda: RouteWatch(told.put))):
        bench.ip("neigh replace 10.0.0.8 lladdr 02:00:00:00:00:08 dev eth0 nud permanent")
        assert told.get(timeout=5) is False
        bench.ip("route add 192.0.2.0/24 via 10.0.0.2")
        assert told.get(timeout=5) is True
