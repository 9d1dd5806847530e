"""Next hops as the kernel has them, and the events that tell of their changes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from bascule.model.addresses import IPAddress
from bascule.system.neighbours import NextHop, NextHops
from bascule.system.route_watch import RouteWatch
from tests.bpf.balancer_bench import ROUTER_MAC, Bench, reason_to_skip

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


@dataclass(frozen=True)
class Case:
    """Addresses of one family: behind the router, on the link without an answer, the router, and another network."""

    behind: IPAddress
    network: str
    beside: IPAddress
    router: IPAddress
    elsewhere: str


CASES = [
    Case(ip_address("10.128.0.1"), "10.128.0.0/16", ip_address("10.0.0.7"), ip_address("10.0.0.2"), "192.0.2.0/24"),
    Case(
        ip_address("fd00:128::1"),
        "fd00:128::/64",
        ip_address("fd00:10::7"),
        ip_address("fd00:10::2"),
        "2001:db8:2::/64",
    ),
]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


@pytest.fixture(params=CASES, ids=["IPv4", "IPv6"])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def resolve(bench: Bench, hops: NextHops, address: IPAddress) -> NextHop | None:
    """The next hop of one address."""
    return bench.inside(lambda: hops.resolve({address}))[address]


def test_an_address_behind_a_router(bench: Bench, case: Case) -> None:
    """The next hop is the router, with its MAC and the interface's MTU."""
    hop = resolve(bench, NextHops(), case.behind)
    assert hop is not None
    assert (hop.neighbour, hop.mtu, hop.is_veth) == (case.router, 1500, True)
    assert hop.mac == bytes.fromhex(ROUTER_MAC.replace(":", ""))


def test_a_route_may_have_a_smaller_mtu(bench: Bench, case: Case) -> None:
    """The route's MTU counts when it is below the interface's."""
    bench.ip(f"route replace {case.network} via {case.router} mtu 1400")
    hop = resolve(bench, NextHops(), case.behind)
    assert hop is not None
    assert hop.mtu == 1400


@pytest.mark.parametrize("network", ["fd00:129::/64", "10.129.0.0/16"])
def test_a_gateway_may_be_link_local(bench: Bench, network: str) -> None:
    """IPv6 routers are known by their link-local address, and IPv4 may be routed by way of them, too."""
    bench.ip("neigh replace fe80::99 lladdr 02:00:00:00:00:07 dev eth0 nud permanent")
    bench.ip(f"route add {network} via {'' if ':' in network else 'inet6 '}fe80::99 dev eth0")
    hop = resolve(bench, NextHops(), ip_network(network)[1])
    assert hop is not None
    assert (hop.neighbour, hop.mac) == (ip_address("fe80::99"), bytes.fromhex("020000000007"))


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "127.0.0.1", "2001:db8::1", "fd00:10::1", "::1"])
def test_nowhere_to_send_to(bench: Bench, address: str) -> None:
    """No route, the node itself, or a link without MACs: there is no next hop."""
    assert resolve(bench, NextHops(), ip_address(address)) is None


def test_a_neighbour_never_heard_of_has_no_mac(bench: Bench, case: Case) -> None:
    """Until it answers, there is nothing to write into a frame; the kernel can be made to ask for it."""
    hops = NextHops()
    hop = resolve(bench, hops, case.beside)
    assert hop is not None
    assert hop.mac is None
    assert f"{case.beside} " not in bench.ip("neigh show dev eth0")
    bench.inside(hops.provoke)
    assert f"{case.beside} " in bench.ip("neigh show dev eth0")


def test_a_forgotten_neighbour_keeps_its_mac_and_a_failed_one_does_not(bench: Bench, case: Case) -> None:
    """The kernel forgets idle neighbours, which are most likely where they were."""
    hops = NextHops()
    before = resolve(bench, hops, case.behind)
    bench.ip(f"neigh del {case.router} dev eth0")
    assert resolve(bench, hops, case.behind) == before
    bench.ip(f"neigh replace {case.router} dev eth0 nud failed")
    failed = resolve(bench, hops, case.behind)
    assert failed is not None
    assert failed.mac is None


def test_changes_are_told(bench: Bench, case: Case) -> None:
    """A neighbour's change is told as such, a route's or link's as one that concerns routes."""
    told: queue.Queue[bool] = queue.Queue()
    with closing(bench.inside(lambda: RouteWatch(told.put))):
        bench.ip(f"neigh replace {case.beside} lladdr 02:00:00:00:00:08 dev eth0 nud permanent")
        while told.get(timeout=5):  # of routes and links that came while the bench was built
            pass
        bench.ip(f"route add {case.elsewhere} via {case.router}")
        assert told.get(timeout=5) is True
