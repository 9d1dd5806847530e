"""BIRD's configuration: what it looks like, and that the real BIRD accepts it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bascule.announcers.bgp.render import BgpOptions, Neighbor, render
from bascule.system.commands import run

FOLDER = Path(__file__).parent / "bird"
OPTIONS = BgpOptions(
    local_as=65001,
    router_id=IPv4Address("192.0.2.10"),
    neighbors=(Neighbor(IPv4Address("192.0.2.1"), 65000), Neighbor(IPv4Address("192.0.2.2"), 4200000000)),
)
LOG = Path("/run/bascule/lb1/bird.log")
SIX = Neighbor(IPv6Address("2001:db8::1"), 65000)
BOTH = (*OPTIONS.neighbors[:1], SIX)


@pytest.mark.parametrize(("name", "neighbors"), [("two_routers", OPTIONS.neighbors), ("both_families", BOTH)])
def test_the_configuration_is_known(name: str, neighbors: tuple[Neighbor, ...]) -> None:
    """The configuration for two routers of IPv4, or for a router by both families, is the golden file, by letter."""
    assert render(replace(OPTIONS, neighbors=neighbors), LOG) == (FOLDER / f"{name}.conf").read_text()


@pytest.mark.parametrize(
    "neighbors", [OPTIONS.neighbors, (), BOTH, (SIX,)], ids=["two routers", "no router", "both families", "IPv6 alone"]
)
def test_the_real_bird_accepts_it(tmp_path: Path, neighbors: tuple[Neighbor, ...]) -> None:
    """`bird -p` parses the configuration."""
    if not shutil.which("bird"):
        pytest.skip("needs BIRD (package bird2)")
    file = tmp_path / "bird.conf"
    options = BgpOptions(local_as=65001, router_id=OPTIONS.router_id, neighbors=neighbors)
    file.write_text(render(options, LOG))
    run(["bird", "-p", "-c", str(file)])
