"""What every announcer promises, over the fake, and over BIRD and keepalived in network namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from bascule.announcers.bgp.driver import BgpAnnouncer
from bascule.announcers.bgp.render import BgpOptions, Neighbor
from bascule.announcers.fake import FakeAnnouncer
from bascule.announcers.interface import Announcer
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.reports import AnnouncerReport
from bascule.system.bird import BirdSocket
from bascule.system.commands import run
from bascule.system.namespaces import call_in
from tests import vrrp_segment
from tests.waiting import until

ADDRESSES: dict[int, tuple[IPAddress, ...]] = {
    4: tuple(IPv4Address(f"192.0.2.{last}") for last in (1, 2, 3)),
    6: tuple(IPv6Address(f"2001:db8::{last}") for last in (1, 2, 3)),
}
A, B, C = ADDRESSES[4]
ROUTER, NODE = IPv4Address("10.77.0.2"), IPv4Address("10.77.0.1")
ROUTER6, NODE6 = IPv6Address("fd00:77::2"), IPv6Address("fd00:77::1")
NEIGHBORS = (Neighbor(ROUTER, 65000), Neighbor(ROUTER6, 65000))

ROUTER_CONFIGURATION = f"""
router id {ROUTER};
protocol device {{ scan time 1; }}
protocol bfd {{ interface "*" {{ min rx interval 300 ms; min tx interval 300 ms; multiplier 5; }}; }}
protocol bgp node {{
  local {ROUTER} as 65000; neighbor {NODE} as 65001; bfd on; hold time 9;
  connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv4 {{ import all; export none; }};
}}
protocol bgp node6 {{
  local {ROUTER6} as 65000; neighbor {NODE6} as 65001; bfd on; hold time 9;
  connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv6 {{ import all; export none; }};
}}
"""


class Stage(Protocol):
    """One announcer and the outside world that hears it."""

    def enforce(self, *addresses: IPAddress) -> tuple[str, ...]:
        """Call the announcer where it lives."""

    def observe(self) -> AnnouncerReport:
        """Call the announcer where it lives."""

    def heard(self) -> frozenset[IPAddress]:
        """What the outside world hears."""

    def meddle(self, address: IPAddress) -> None:
        """Withdraw by a foreign hand."""


class FakeStage:
    """The fake is its own outside world."""

    def __init__(self) -> None:
        self.announcer = FakeAnnouncer()
        self.announcer.start()

    def enforce(self, *addresses: IPAddress) -> tuple[str, ...]:
        return self.announcer.enforce(frozenset(addresses))

    def observe(self) -> AnnouncerReport:
        return self.announcer.observe()

    def heard(self) -> frozenset[IPAddress]:
        return frozenset(self.announcer.announced)

    def meddle(self, address: IPAddress) -> None:
        self.announcer.announced.discard(address)


@dataclass
class BgpStage:
    """A node and its router, each a namespace with a BIRD."""

    node: str
    router: str
    folder: Path

    def announcer(self, neighbors: tuple[Neighbor, ...] = NEIGHBORS) -> BgpAnnouncer:
        """As an agent process that has just begun would have it."""
        options = BgpOptions(local_as=65001, router_id=NODE, neighbors=neighbors, bfd_interval_ms=300, bfd_multiplier=5)
        return BgpAnnouncer(options, self.folder / "node")

    def __post_init__(self) -> None:
        self.current: Announcer = self.announcer()

    def enforce(self, *addresses: IPAddress) -> tuple[str, ...]:
        return call_in(self.node, lambda: self.current.enforce(frozenset(addresses)))

    def observe(self) -> AnnouncerReport:
        return call_in(self.node, self.current.observe)

    def heard(self) -> frozenset[IPAddress]:
        lines = BirdSocket(self.folder / "router.ctl").ask("show route")
        routes = (line.split("/")[0] for line in lines if "/32" in line or "/128" in line)
        return frozenset(map(ip_address, routes))

    def meddle(self, address: IPAddress) -> None:
        run(["ip", "-n", self.node, "route", "del", "blackhole", f"{address}", "table", "7900"])

    def since(self) -> float:
        """When the node's session came up: seconds of the day."""
        protocols = BirdSocket(self.folder / "node/bird.ctl").protocols()
        hours, minutes, seconds = next(each.since for each in protocols if each.kind == "BGP").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)

    def same_session(self, since: float) -> bool:
        """BIRD computes the time anew at each question, to the millisecond or two; a new session takes over 1 s."""
        return self.up() and abs(self.since() - since) < 0.5

    def up(self) -> bool:
        """Whether the session is established."""
        return all(session.up for session in self.observe().sessions)

    def begin(self) -> None:
        """Wire the namespaces, start the router, start the announcer, await the session."""
        for namespace in (self.node, self.router):
            run(["ip", "netns", "add", namespace])
            run(["ip", "-n", namespace, "link", "set", "lo", "up"])
        run(
            ["ip", "-n", self.node, "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", self.router]
        )
        for namespace, link, four, six in ((self.node, "up0", NODE, NODE6), (self.router, "down0", ROUTER, ROUTER6)):
            run(["ip", "-n", namespace, "address", "add", f"{four}/24", "dev", link])
            run(["ip", "-n", namespace, "address", "add", f"{six}/64", "dev", link, "nodad"])
            run(["ip", "-n", namespace, "link", "set", link, "up"])
        file = self.folder / "router.conf"
        file.write_text(ROUTER_CONFIGURATION)
        bird = ["bird", "-c", str(file), "-s", str(self.folder / "router.ctl"), "-P", str(self.folder / "router.pid")]
        run(["ip", "netns", "exec", self.router, *bird])
        call_in(self.node, self.current.start)
        until("the sessions", self.up)

    def end(self) -> None:
        """Kill both BIRDs and remove the namespaces, whatever state they are in."""
        for file in (self.folder / "router.pid", self.folder / "node/bird.pid"):
            if file.exists():
                kill(file)
        for namespace in (self.node, self.router):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class VrrpStage:
    """A node that is alone on its segment, and so has what it takes part for."""

    def __init__(self, segment: vrrp_segment.Segment) -> None:
        self.node = segment.nodes["a"]

    def enforce(self, *addresses: IPAddress) -> tuple[str, ...]:
        return self.node.enforce(*addresses)

    def observe(self) -> AnnouncerReport:
        return self.node.observe()

    def heard(self) -> frozenset[IPAddress]:
        return self.node.present()

    def meddle(self, address: IPAddress) -> None:
        run(["ip", "-n", self.node.segment.of("a"), "address", "del", str(address), "dev", "eth0"])


def kill(file: Path) -> None:
    """SIGKILL the process of a pid file."""
    try:
        os.kill(int(file.read_text()), signal.SIGKILL)
    except ProcessLookupError:
        return


def missing() -> str | None:
    """Why the BGP tests cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    return None if shutil.which("bird") else "needs BIRD (package bird2)"


@pytest.fixture
def bgp() -> Iterator[BgpStage]:
    if reason := missing():
        pytest.skip(reason)
    unique = uuid4().hex[:6]
    folder = Path("/run") / f"bascule-test-{unique}"
    folder.mkdir()
    stage = BgpStage(f"bt-{unique}-n", f"bt-{unique}-r", folder)
    try:
        stage.begin()
        yield stage
    finally:
        stage.end()


@pytest.fixture
def vrrp() -> Iterator[VrrpStage]:
    if reason := vrrp_segment.missing():
        pytest.skip(reason)
    with vrrp_segment.Segment() as segment:
        yield VrrpStage(segment)


@pytest.fixture(params=["fake", pytest.param("bgp", marks=pytest.mark.root)])
def routed(request: pytest.FixtureRequest) -> Stage:
    """The announcers that only announce what they were told; keepalived mends by itself what a hand broke."""
    if request.param == "fake":
        return FakeStage()
    found: BgpStage = request.getfixturevalue("bgp")
    return found


@pytest.fixture(
    params=["fake", pytest.param("bgp", marks=pytest.mark.root), pytest.param("vrrp", marks=pytest.mark.root)]
)
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "fake":
        return FakeStage()
    found: Stage = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("family", ADDRESSES)
def test_announced_addresses_are_heard_and_withdrawn_ones_are_not(stage: Stage, family: int) -> None:
    """What enforce names is what the outside world hears, and what observe reports."""
    a, b, c = ADDRESSES[family]
    stage.enforce(a, b)
    until("A and B at the router", lambda: stage.heard() == {a, b})
    assert stage.observe().announced == {a, b}
    stage.enforce(b, c)
    until("B and C at the router", lambda: stage.heard() == {b, c})
    stage.enforce()
    until("silence", lambda: not stage.heard())
    assert not stage.observe().announced


def test_enforcing_the_same_again_repairs_nothing(stage: Stage) -> None:
    """A second enforce of the same addresses has nothing to say."""
    stage.enforce(A, *ADDRESSES[6])
    assert stage.enforce(A, *ADDRESSES[6]) == ()


@pytest.mark.parametrize("family", ADDRESSES)
def test_what_a_foreign_hand_withdrew_is_announced_again(routed: Stage, family: int) -> None:
    """Drift is seen in the outside world, not in memory, and repaired with a sentence."""
    a, b, _ = ADDRESSES[family]
    routed.enforce(a, b)
    routed.meddle(a)
    assert routed.observe().announced == {b}
    assert routed.enforce(a, b) == (f"announced {a}",)
    until("A and B at the router", lambda: routed.heard() == {a, b})


@pytest.mark.root
def test_an_address_that_nobody_would_hear_of_is_a_problem(bgp: BgpStage) -> None:
    """Without a neighbor of its family an address is not announced, a sentence says so, and the others are."""
    six = ADDRESSES[6][0]
    bgp.current = bgp.announcer(NEIGHBORS[:1])
    with pytest.raises(SystemFailure, match=f"{six} cannot be announced: no BGP neighbor is of IPv6"):
        bgp.enforce(A, six)
    until("A at the router", lambda: bgp.heard() == {A})
    assert bgp.observe().announced == {A}


@pytest.mark.root
def test_both_families_are_announced_side_by_side(bgp: BgpStage) -> None:
    """Each family goes by the session of its own, with the node's address of that family as the next hop."""
    six = ADDRESSES[6][0]
    bgp.enforce(A, six)
    until("both at the router", lambda: bgp.heard() == {A, six})
    lines = BirdSocket(bgp.folder / "router.ctl").ask("show route")
    assert {line.split()[1] for line in lines if "via" in line} == {str(NODE), str(NODE6)}


@pytest.mark.root
def test_the_session_stays_up_through_twenty_changes(bgp: BgpStage) -> None:
    """Announcing and withdrawing twenty times never touches the BGP session."""
    since = bgp.since()
    for turn in range(20):
        wanted = {A, B} if turn % 2 else {B, C}
        bgp.enforce(*wanted)
        until(f"change {turn} at the router", lambda wanted=wanted: bgp.heard() == wanted)  # type: ignore[misc]
    assert bgp.same_session(since)


@pytest.mark.root
def test_a_new_process_takes_over_without_touching_the_session(bgp: BgpStage) -> None:
    """An agent that begins again finds BIRD running and its routes in place, and changes nothing."""
    bgp.enforce(A)
    since = bgp.since()
    bgp.current = bgp.announcer()
    call_in(bgp.node, bgp.current.start)
    assert bgp.enforce(A) == ()
    assert bgp.same_session(since)
    until("A at the router", lambda: bgp.heard() == {A})


@pytest.mark.root
def test_a_killed_bird_is_started_again(bgp: BgpStage) -> None:
    """After BIRD was killed, the report says so, and the next enforce brings session and announcements back."""
    bgp.enforce(A)
    until("A at the router", lambda: bgp.heard() == {A})
    kill(bgp.folder / "node/bird.pid")
    until("BIRD to be gone", lambda: not bgp.up())
    assert [session.state for session in bgp.observe().sessions] == ["BIRD does not answer"] * len(NEIGHBORS)
    assert bgp.enforce(A) == ("started BIRD",)
    until("the session", bgp.up)
    until("A at the router", lambda: bgp.heard() == {A})


@pytest.mark.root
def test_a_changed_configuration_is_written_again_without_a_restart(bgp: BgpStage) -> None:
    """What an editor did to BIRD's file is undone, BIRD reads it, and the session stays up."""
    bgp.enforce(A)
    since = bgp.since()
    file = bgp.folder / "node/bird.conf"
    wanted = file.read_text()
    file.write_text("router id 1.2.3.4;\n")
    assert len(bgp.enforce(A)) == 2
    assert file.read_text() == wanted
    assert bgp.same_session(since)


@pytest.mark.root
def test_routes_of_others_are_neither_touched_nor_announced(bgp: BgpStage) -> None:
    """Routes in other tables, and routes of other owners in our table, stay and are not heard."""
    for table, owner in (("main", "static"), ("7901", "79"), ("7900", "static")):
        run(["ip", "-n", bgp.node, "route", "add", "blackhole", "198.51.100.7/32", "table", table, "proto", owner])
    bgp.enforce(A)
    until("A at the router", lambda: bgp.heard() == {A})
    bgp.enforce()
    until("silence", lambda: not bgp.heard())
    for table in ("main", "7901", "7900"):
        assert "198.51.100.7" in run(["ip", "-n", bgp.node, "route", "show", "table", table])
