"""The link behind the XDP data plane goes and comes: what is drawn to the node, and what the program does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.model.errors import SystemFailure
from tests.bpf import packets
from tests.bpf.balancer_bench import ROUTER_MAC, V4, VIP, XDP_REDIRECT, Bench, backend, reason_to_skip, service
from tests.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]

WEB = service(backend(1), backend(2))
ROUTES = "route replace 10.128.0.0/16 via 10.0.0.2"
ROUTER = f"neigh replace 10.0.0.2 lladdr {ROUTER_MAC} dev eth0 nud permanent"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


def _is_ready(bench: Bench, driver: XdpDataPlane) -> bool:
    bench.enforce(driver, WEB)
    return VIP in bench.observe(driver).ready


def _forwards(bench: Bench, driver: XdpDataPlane) -> bool:
    return bench.send(driver, packets.frame(V4.tcp()))[0] == XDP_REDIRECT


def test_without_a_link_nothing_is_drawn(bench: Bench) -> None:
    """An address whose backends are all behind a link that is down is not ready; with the link it is ready again."""
    driver = bench.driver()
    assert _is_ready(bench, driver)
    bench.ip("link set eth0 down")
    until("the loss to be seen", lambda: not _is_ready(bench, driver))
    bench.ip("link set eth0 up", ROUTES, ROUTER)
    until("the link to be seen", lambda: _is_ready(bench, driver))


def test_a_link_that_comes_back_finds_its_next_hops(bench: Bench) -> None:
    """What was known when the link went is used when it is back, although no process looks after it by then."""
    driver = bench.driver()
    bench.enforce(driver, WEB)
    bench.ip("link set eth0 down")
    until("the loss to be seen", lambda: not _is_ready(bench, driver))
    driver.close()
    bench.ip("link set eth0 up", ROUTES)
    successor = bench.driver()
    assert _forwards(bench, successor)
    bench.enforce(successor, WEB)
    assert _forwards(bench, successor), "a neighbour that was not asked for yet is where it was"
    bench.ip("neigh replace 10.0.0.2 dev eth0 nud failed")
    until("the failure to be seen", lambda: not _is_ready(bench, successor))
    assert not _forwards(bench, successor)


def test_a_route_that_somebody_cut_is_obeyed(bench: Bench) -> None:
    """A route that leads nowhere, on a link that is up, stops the program from sending where it sent before."""
    driver = bench.driver()
    bench.enforce(driver, WEB)
    assert _forwards(bench, driver)
    bench.ip("route replace blackhole 10.128.0.0/16")
    until("the change to be seen", lambda: not _forwards(bench, driver))
    assert not _is_ready(bench, driver)


def test_one_backend_within_reach_is_enough(bench: Bench) -> None:
    """Only when no serving backend can be reached is an address not ready; without any it is, and refuses."""
    driver = bench.driver()
    bench.ip(f"route add blackhole {WEB.backends[0].address}/32")
    assert _is_ready(bench, driver)
    bench.enforce(driver, service(backend(1), backend(2, 0)))
    assert bench.observe(driver).ready == frozenset()
    bench.enforce(driver, service(backend(1, 0)))
    assert bench.observe(driver).ready == {VIP}


def test_a_program_that_cannot_be_attached_draws_nothing(bench: Bench) -> None:
    """When the program is gone and its interface refuses it, the address is not ready."""
    driver = bench.driver()
    bench.enforce(driver, WEB)
    bench.ip("link set eth0 xdp off", "link set eth0 down", "link set eth0 name moved")
    with pytest.raises(SystemFailure, match="There is no interface eth0"):
        bench.enforce(driver, WEB)
    assert bench.observe(driver).ready == frozenset()
