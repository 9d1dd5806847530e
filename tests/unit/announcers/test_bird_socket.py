"""Reading BIRD's answers, and telling its silence."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from bascule.model.errors import SystemFailure
from bascule.system.bird import BirdSocket, read_bfd_neighbors, read_protocols

# As BIRD 2.0.12 prints it, codes removed.
ANSWER = """\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     21:03:59.373

announced  Kernel     vips       up     21:03:59.373
  Channel ipv4
    State:          UP
router1    BGP        ---        start  21:04:00.221  Active        Socket: Connection refused
  BGP state:          Active
    Neighbor address: 10.77.0.2
    Neighbor AS:      65000
  Channel ipv4
    State:          DOWN
"""


def test_protocols_are_read_with_their_details() -> None:
    """Name, kind, state and details of every protocol are found; the heading is not one."""
    device, kernel, router = read_protocols(tuple(ANSWER.splitlines()))
    assert (device.name, device.kind, device.since) == ("device1", "Device", "21:03:59.373")
    assert kernel.details["State"] == "UP"
    assert (router.state, router.info) == ("start", "Active        Socket: Connection refused")
    assert router.details["BGP state"] == "Active"
    assert router.details["Neighbor address"] == "10.77.0.2"


BFD_ANSWER = """\
bfd1:
IP address                Interface  State      Since         Interval  Timeout
10.77.0.2                 uplink     Up         21:04:01.001    0.300    0.900
10.77.0.3                 uplink     Down       21:04:01.001    1.000    0.000
fd00:77::2                uplink     Up         21:04:01.001    0.300    0.900
"""


def test_neighbors_are_watched_while_bfd_is_up() -> None:
    """Sessions that are down and the heading are none; nor is the answer of a BIRD without BFD."""
    assert read_bfd_neighbors(tuple(BFD_ANSWER.splitlines())) == {ip_address("10.77.0.2"), ip_address("fd00:77::2")}
    assert read_bfd_neighbors(("There is no BFD protocol running",)) == frozenset()


def test_silence_is_a_system_failure(tmp_path: Path) -> None:
    """Nobody listening is told apart from a refusal, with the socket named."""
    bird = BirdSocket(tmp_path / "ctl")
    assert not bird.alive()
    with pytest.raises(SystemFailure, match="does not answer"):
        bird.ask("show status")


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    """The limit of unix sockets is told before anything is started."""
    with pytest.raises(SystemFailure, match="too long"):
        BirdSocket(Path("/" + "x" * 200))
