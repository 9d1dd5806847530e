"""The router's configuration and what is read back from it."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from bascule.lab.passage import Passage, total
from bascule.lab.router import Session, parse_sessions, render
from bascule.lab.shape import Bfd, Shape
from bascule.lab.topology import data_centre
from bascule.model.errors import InvalidInput
from bascule.system.commands import run

_PROTOCOLS = """BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     21:16:40.001
kernel1    Kernel     master4    up     21:16:40.001
bfd1       BFD        ---        up     21:16:40.001
lb1_ipv4   BGP        ---        up     21:16:44.120  Established
lb2_ipv6   BGP        ---        start  21:16:40.001  Active        Socket: Connection refused
"""


def test_sessions_are_read() -> None:
    """Of all protocols the BGP sessions are read, with BIRD's word for their state."""
    first, second = parse_sessions(_PROTOCOLS)
    assert first == Session(node="lb1", family=4, state="Established")
    assert first.up
    assert (second.node, second.family, second.up) == ("lb2", 6, False)


def test_a_pace_of_bfd_is_read() -> None:
    """Milliseconds and a multiplier, with or without the unit; everything else is refused."""
    assert Bfd.parse("50ms:3") == Bfd.parse("50:3") == Bfd(interval_ms=50, multiplier=3)
    assert Bfd.parse(str(Bfd())) == Bfd()
    for text in ("", "50ms", "5ms:3", "50ms:1", "50ms:256", "60001:3", "50s:3", "50ms:3;"):
        with pytest.raises(InvalidInput, match="is no pace of BFD"):
            Bfd.parse(text)


@pytest.mark.skipif(not shutil.which("bird"), reason="BIRD is not installed")
@pytest.mark.parametrize("ipv6", [True, False])
def test_bird_accepts_the_configuration(tmp_path: Path, ipv6: bool) -> None:
    """BIRD itself finds no fault with the configuration, in which each LB node has a session for each family."""
    file = tmp_path / "bird.conf"
    text = render(data_centre(Shape(lb_nodes=3, ipv6=ipv6)), Bfd(interval_ms=50, multiplier=3))
    file.write_text(text)
    run(["bird", "-p", "-c", str(file)])
    assert text.count("protocol bgp") == (6 if ipv6 else 3)


def test_counters_are_added_up() -> None:
    """What every CPU counted becomes a pair of packets and bytes, whose differences are what passed in between."""
    passed = Passage(tunnelled_from_lb_nodes=total([struct.pack("=QQ", 1, 100), struct.pack("=QQ", 2, 50)]))
    assert passed.tunnelled_from_lb_nodes == (3, 150)
    assert passed.since(passed) == Passage()


def test_direct_means_some_reply_and_none_through_an_lb_node() -> None:
    """Silence is no proof of direct replies, and one reply through an LB node disproves them."""
    assert not Passage().direct
    assert Passage(replies_from_hypervisors=(5, 500)).direct
    assert not Passage(replies_from_hypervisors=(5, 500), replies_from_lb_nodes=(1, 100)).direct
