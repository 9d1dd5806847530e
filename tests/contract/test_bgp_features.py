"""What operators may ask of BGP, between the BIRD that we configure and a router's BIRD in another namespace."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from bascule.announcers.bgp.driver import BgpAnnouncer
from bascule.announcers.bgp.render import BgpOptions, Neighbor
from bascule.model.addresses import IPAddress
from bascule.system.bird import BirdSocket
from bascule.system.commands import run
from tests.namespaces import Hosts
from tests.waiting import until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(shutil.which("bird") is None, reason="needs BIRD (package bird2)"),
]

VIP, VIP6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
PASSWORD = "pa ss;{}#'\\word"
_ROUTER = """
log stderr all;
router id 10.77.0.254;
protocol device {{ scan time 1; }}
protocol bfd {{ interface "*" {{ min rx interval 300 ms; min tx interval 300 ms; multiplier 5; }}; }}
protocol kernel {{ merge paths on limit 16; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel {{ merge paths on limit 16; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
filter heard {{
  # GRACEFUL_SHUTDOWN, RFC 8326
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}}
{sessions}
"""
_SESSION = """
protocol bgp lb{node}_{family} {{
  local as 65000; neighbor {address} as 65001; bfd on; hold time 9; {more}
  connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv{family} {{ import filter heard; export none; }};
}}
"""


def _addresses(node: int) -> dict[int, tuple[str, str]]:
    """The node's and the router's address on their link, by family."""
    return {4: (f"10.77.{node}.1", f"10.77.{node}.2"), 6: (f"fd00:77:{node}::1", f"fd00:77:{node}::2")}


@dataclass
class Data:
    """A router and LB nodes, each a namespace with a BIRD of its own; build with `with`."""

    folder: Path
    count: int = 1
    more: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    by_node: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> Data:
        self.folder.mkdir()
        self.hosts = Hosts("router", *(f"lb{node}" for node in self._nodes()))
        self.hosts.__enter__()
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _nodes(self) -> range:
        return range(1, self.count + 1)

    def _build(self) -> None:
        for node in self._nodes():
            self.hosts.ip(f"lb{node}", f"link add up0 type veth peer name down{node} netns @router")
            for host, link, place in ((f"lb{node}", "up0", 0), ("router", f"down{node}", 1)):
                four, six = (pair[place] for pair in _addresses(node).values())
                self.hosts.ip(
                    host,
                    f"addr add {four}/24 dev {link}",
                    f"addr add {six}/64 dev {link} nodad",
                    f"link set {link} up",
                )
        sessions = "".join(
            _SESSION.format(node=node, family=family, address=own, more=self.more)
            for node in self._nodes()
            for family, (own, _) in _addresses(node).items()
        )
        (self.folder / "router.conf").write_text(_ROUTER.format(sessions=sessions))
        where = [
            word
            for option, end in (("-c", "conf"), ("-s", "ctl"), ("-P", "pid"))
            for word in (option, f"{self.folder}/router.{end}")
        ]
        run(["ip", "netns", "exec", self.hosts.of("router"), "bird", *where])
        self.announcers = {node: self.announcer(node) for node in self._nodes()}
        for node, announcer in self.announcers.items():
            self.hosts.inside(f"lb{node}", announcer.start)

    def announcer(self, node: int) -> BgpAnnouncer:
        """As an agent process on that node has it."""
        options = BgpOptions(
            local_as=65001,
            router_id=IPv4Address(f"10.77.{node}.1"),
            neighbors=tuple(Neighbor.parse(f"{router}/65000") for _, router in _addresses(node).values()),
            **(self.options | self.by_node.get(node, {})),
        )
        return BgpAnnouncer(options, self.folder / f"lb{node}")

    def enforce(self, node: int, *addresses: IPAddress, fading: Set[IPAddress] = frozenset()) -> tuple[str, ...]:
        """As the agent of that node would."""
        self.announcers[node].discourage(fading)
        return self.hosts.inside(f"lb{node}", lambda: self.announcers[node].enforce(frozenset(addresses)))

    def up(self, node: int = 1) -> bool:
        """Whether both of a node's sessions are established."""
        return all(each.up for each in self.hosts.inside(f"lb{node}", self.announcers[node].observe).sessions)

    def used(self, vip: IPAddress = VIP) -> set[int]:
        """The nodes that the router's kernel sends the VIP's packets to."""
        text = run(["ip", f"-{vip.version}", "-n", self.hosts.of("router"), "route", "show", str(vip)])
        return {node for node in self._nodes() if f" down{node}" in text}

    def told(self, what: str) -> str:
        """What the router's BIRD answers."""
        return "\n".join(BirdSocket(self.folder / "router.ctl").ask(what))

    def __exit__(self, *_: object) -> None:
        for file in self.folder.glob("**/*.pid"):
            subprocess.run(["kill", "-KILL", file.read_text().strip()], check=False, capture_output=True)
        self.hosts.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, for a socket's path may have 107 characters."""
    path = Path("/run") / f"bascule-bgp-{os.getpid()}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_three_nodes_share_an_address(folder: Path) -> None:
    """The router spreads an address over all nodes that announce it, in both families, and over those that are left."""
    with Data(folder, count=3) as data:
        for node in (1, 2, 3):
            data.enforce(node, VIP, VIP6)
        for vip in (VIP, VIP6):
            until(f"three ways to {vip}", lambda vip=vip: data.used(vip) == {1, 2, 3})  # type: ignore[misc]
        data.enforce(2, VIP6)
        until("two ways", lambda: data.used() == {1, 3})
        assert data.used(VIP6) == {1, 2, 3}


def test_a_node_that_leaves_is_left_before_it_withdraws(folder: Path) -> None:
    """An address that fades carries the community of RFC 8326: the router moves to others, but uses it as the last."""
    with Data(folder, count=2) as data:
        for node in (1, 2):
            data.enforce(node, VIP, VIP6)
        until("two ways", lambda: data.used() == data.used(VIP6) == {1, 2})
        assert data.enforce(1, VIP, VIP6, fading={VIP}) == (f"announced {VIP} as a last resort",)
        until("the other way only", lambda: data.used() == {2})
        assert data.used(VIP6) == {1, 2}
        assert "(65535,0)" in data.told(f"show route for {VIP} all")
        assert data.enforce(1, VIP, VIP6, fading={VIP}) == ()
        data.enforce(2, VIP6)
        until("the last resort", lambda: data.used() == {1})
        assert data.enforce(1, VIP, VIP6) == (f"announced {VIP}",)
        until("the community to be gone", lambda: "(65535,0)" not in data.told(f"show route for {VIP} all"))
        data.enforce(1, VIP6)
        until("the withdrawal", lambda: not data.used())


def test_a_successor_takes_back_what_its_predecessor_was_leaving(folder: Path) -> None:
    """An agent that died while an address faded leaves a last resort; the next announces it as it should be."""
    with Data(folder) as data:
        data.enforce(1, VIP, fading={VIP})
        until("the last resort", lambda: data.used() == {1})
        data.announcers[1] = data.announcer(1)
        assert data.hosts.inside("lb1", data.announcers[1].observe).announced == {VIP}
        assert data.enforce(1, VIP) == (f"announced {VIP}",)


def test_a_standby_is_used_when_nobody_else_is_left(folder: Path) -> None:
    """A node that prepends its AS number gets nothing while another announces the address, and all when it does not."""
    with Data(folder, count=2, by_node={2: {"prepend": 3}}) as data:
        for node in (1, 2):
            data.enforce(node, VIP)
        until("the standby's path", lambda: "65001 65001 65001 65001" in data.told("show route all"))
        until("the first node", lambda: data.used() == {1})
        data.enforce(1)
        until("the standby", lambda: data.used() == {2})


def test_sessions_of_both_families_are_authenticated(folder: Path) -> None:
    """With one password on both sides sessions come up; nobody but root reads it, and no log or report tells it."""
    with Data(folder, options={"password": PASSWORD}, more=f'password "{PASSWORD}";') as data:
        data.enforce(1, VIP, VIP6)
        until("both to be heard", lambda: data.used() == data.used(VIP6) == {1})
        assert stat.S_IMODE((folder / "lb1/bird.conf").stat().st_mode) == 0o600
        assert PASSWORD not in (folder / "lb1/bird.log").read_text()
        assert PASSWORD not in repr(data.announcers[1]._options)
        assert PASSWORD not in repr(data.hosts.inside("lb1", data.announcers[1].observe))


def test_without_the_password_there_is_no_session(folder: Path) -> None:
    """A router that signs with another password is not spoken with, and the report says that sessions are down."""
    with Data(folder, options={"password": PASSWORD}, more='password "another";') as data:
        data.enforce(1, VIP)
        wrong = "Key mismatch|timed out|Connect|Active|OpenSent|Idle"
        until("an attempt", lambda: any(word in data.told("show protocols") for word in wrong.split("|")))
        assert not data.used()
        assert not data.up()


def test_only_neighbours_one_hop_away_are_heard(folder: Path) -> None:
    """With TTL security on both sides sessions come up, in both families."""
    with Data(folder, options={"ttl_security": True}, more="ttl security on;") as data:
        data.enforce(1, VIP, VIP6)
        until("both to be heard", lambda: data.used() == data.used(VIP6) == {1})


def test_a_router_that_does_not_care_for_its_ttl_is_not_heard(folder: Path) -> None:
    """With TTL security on our side only there is no session: what it sends could have come from anywhere."""
    with Data(folder, options={"ttl_security": True}, more="ttl security off;") as data:
        data.enforce(1, VIP)
        until("an attempt", lambda: "start" in data.told("show protocols lb1_4"))
        assert not data.up()
        assert not data.used()


def test_operators_choose_how_fast_bfd_notices(folder: Path) -> None:
    """BFD runs with the interval and the multiplier of the settings, as its other end sees them."""
    with Data(folder, options={"bfd_interval_ms": 400, "bfd_multiplier": 7}) as data:
        until("the sessions", data.up)
        bird = BirdSocket(folder / "lb1/bird.ctl")

        def rows() -> list[list[str]]:
            return [line.split() for line in bird.ask("show bfd sessions") if "Up" in line]

        until("BFD", lambda: len(rows()) == 2)
        # The interval is the slower one of both, the time-out five of the router's.
        assert all(abs(float(row[-2]) - 0.4) < 0.01 and float(row[-1]) >= 2.0 for row in rows()), rows()
        theirs = [line.split() for line in data.told("show bfd sessions").splitlines() if "Up" in line]
        assert all(abs(float(row[-1]) - 2.8) < 0.01 for row in theirs), theirs


def test_a_session_without_bfd_is_told(folder: Path) -> None:
    """BGP goes on when the router ends BFD: the report says that nothing watches over it, until BFD is back."""
    with Data(folder) as data:

        def watched() -> list[bool]:
            return [each.bfd for each in data.hosts.inside("lb1", data.announcers[1].observe).sessions if each.up]

        until("BFD", lambda: watched() == [True, True])
        data.told("disable bfd1")
        until("BGP alone", lambda: watched() == [False, False])
        data.told("enable bfd1")
        until("BFD again", lambda: watched() == [True, True])
