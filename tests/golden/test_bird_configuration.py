"""BIRD's configuration: what it looks like, and that the real BIRD accepts it."""

from __future__ import annotations

import shutil
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bascule.announcers.bgp.render import BgpOptions, Neighbor, render
from bascule.system.commands import run

GOLDEN = Path(__file__).parent / "bird" / "two_routers.conf"
OPTIONS = BgpOptions(
    local_as=65001,
    router_id=IPv4Address("192.0.2.10"),
    neighbors=(Neighbor(IPv4Address("192.0.2.1"), 65000), Neighbor(IPv4Address("192.0.2.2"), 4200000000)),
)
LOG = Path("/run/bascule/lb1/bird.log")


def test_two_routers() -> None:
    """The configuration for two routers is the golden file, letter by letter."""
    assert render(OPTIONS, LOG) == GOLDEN.read_text()


@pytest.mark.parametrize("neighbors", [OPTIONS.neighbors, ()], ids=["two routers", "no router"])
def test_the_real_bird_accepts_it(tmp_path: Path, neighbors: tuple[Neighbor, ...]) -> None:
    """`bird -p` parses the configuration."""
    if not shutil.which("bird"):
        pytest.skip("needs BIRD (package bird2)")
    file = tmp_path / "bird.conf"
    options = BgpOptions(local_as=65001, router_id=OPTIONS.router_id, neighbors=neighbors)
    file.write_text(render(options, LOG))
    run(["bird", "-p", "-c", str(file)])
