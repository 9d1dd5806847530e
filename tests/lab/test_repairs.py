"""What somebody takes away behind an agent's back is there again within two seconds."""

from __future__ import annotations

import os

import pytest

from bascule.lab import traffic
from bascule.lab.network import namespace
from bascule.lab.topology import UPLINK
from bascule.lab.waiting import wait_until
from bascule.system.commands import run
from bascule.system.namespaces import call_in

from .conftest import Balancer
from .maps import open_pinned

pytestmark = pytest.mark.lab
_PROMISE = 2.0
_NODE = "lb1"


def _on_node(balancer: Balancer, *command: str) -> str:
    return call_in(namespace(balancer.lab.name, _NODE), lambda: run(command))


def test_the_vip_on_lo_comes_back(balancer: Balancer) -> None:
    """A VIP deleted from the loopback interface is put back."""
    _on_node(balancer, "ip", "address", "del", f"{balancer.vip}/32", "dev", "lo")
    wait_until(
        lambda: str(balancer.vip) in _on_node(balancer, "ip", "-o", "address", "show", "dev", "lo"),
        what="The VIP on lo",
        timeout=_PROMISE,
    )


def test_the_announcement_comes_back(balancer: Balancer) -> None:
    """A route deleted from the table of announcements is put back."""
    announced = ("ip", "route", "show", "table", "7900")
    assert str(balancer.vip) in _on_node(balancer, *announced)
    _on_node(balancer, "ip", "route", "del", "blackhole", str(balancer.vip), "table", "7900")
    wait_until(lambda: str(balancer.vip) in _on_node(balancer, *announced), what="The announcement", timeout=_PROMISE)


def test_the_xdp_program_comes_back(balancer: Balancer) -> None:
    """An XDP program taken off the interface is attached again."""
    _on_node(balancer, "ip", "link", "set", "dev", UPLINK, "xdp", "off")
    wait_until(
        lambda: "xdp" in _on_node(balancer, "ip", "link", "show", "dev", UPLINK), what="The program", timeout=_PROMISE
    )


@pytest.mark.parametrize("name", ["services", "backends"])
def test_a_zeroed_map_comes_back(balancer: Balancer, name: str) -> None:
    """A table of the packet program that somebody overwrote with zeros is written again."""
    table = open_pinned(balancer.lab.folder(_NODE) / "bpf", name)
    try:
        used = [key for key in list(table.keys()) if any(table.get(key) or b"")]
        assert used
        for key in used:
            table.set(key, bytes(table.value_size))
        wait_until(lambda: all(any(table.get(key) or b"") for key in used), what=f"Map {name}", timeout=_PROMISE)
    finally:
        os.close(table.fd)
    assert not traffic.send(balancer.lab, balancer.web, 200).failures
