"""What somebody else does to the node comes back; what is somebody else's stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.dataplanes.ipvs import sysctls
from bascule.dataplanes.ipvs.writing import Timeouts
from bascule.model.virtual_services import ForwardingMethod, Persistence
from tests.ipvs.bench import VIP, VIPS, service
from tests.ipvs.centre import Centre, backend

pytestmark = pytest.mark.root
WEB = service(backend("one"), backend("two", 3))
WEB6 = service(
    backend("one", family=6),
    backend("two", 3, family=6),
    family=6,
    persistence=Persistence(timeout=60, prefix_length=64),
)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (f"ipvsadm -e -t {VIP}:80 -r 10.128.0.1:80 -i -w 9", "Changed destination 10.128.0.1:80"),
        (f"ipvsadm -e -t {VIP}:80 -r 10.128.0.1:80 -g -w 1", "Changed destination 10.128.0.1:80"),
        (f"ipvsadm -d -t {VIP}:80 -r 10.128.0.1:80", "Added destination 10.128.0.1:80"),
        (f"ipvsadm -a -t {VIP}:80 -r 10.128.0.9:80 -i", "Removed destination 10.128.0.9:80"),
        (f"ipvsadm -E -t {VIP}:80 -s rr", "Changed the virtual server of tcp"),
        (f"ipvsadm -E -t {VIP}:80 -s wrr -p 30", "Changed the virtual server of tcp"),
        (f"ipvsadm -A -t {VIP}:443 -s rr", "Removed the virtual server of tcp"),
        ("ip link set bascule-ipvs down", "Set bascule-ipvs up"),
        ("sysctl -qw net.ipv4.vs.sloppy_tcp=0", "Set net.ipv4.vs.sloppy_tcp to 1"),
    ],
)
def test_damage_is_repaired_by_one_change(centre: Centre, damage: str, words: str) -> None:
    """Each thing that differs is put right by one change, which a sentence names; then all is quiet."""
    centre.node.enforce(WEB)
    centre.do("lb", damage)
    first, *_ = centre.node.enforce(WEB)
    assert first.startswith(words)
    assert centre.node.enforce(WEB) == ()
    assert centre.ask()[0] in {"one", "two"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (f"ipvsadm -e -t [{VIPS[6]}]:80 -r [fd00:128::1]:80 -i -w 9", "Changed destination [fd00:128::1]:80"),
        (f"ipvsadm -d -t [{VIPS[6]}]:80 -r [fd00:128::1]:80", "Added destination [fd00:128::1]:80"),
        (f"ipvsadm -a -t [{VIPS[6]}]:80 -r 10.128.0.9:80 -i", "Removed destination 10.128.0.9:80"),
        (f"ipvsadm -E -t [{VIPS[6]}]:80 -s wrr -p 60 -M 56", "Changed the virtual server of tcp"),
        (f"ipvsadm -E -t [{VIPS[6]}]:80 -s wrr -p 50 -M 64", "Changed the virtual server of tcp"),
        (f"ipvsadm -E -t [{VIPS[6]}]:80 -s wrr", "Changed the virtual server of tcp"),
        (f"ipvsadm -D -u [{VIPS[6]}]:0", f"Added the virtual server of udp {VIPS[6]}, every other port"),
        (f"ip addr del {VIPS[6]}/128 dev bascule-ipvs", f"Added address {VIPS[6]} to bascule-ipvs"),
        ("sysctl -qw net.ipv6.conf.bascule-ipvs.disable_ipv6=1", "Set net.ipv6.conf.bascule-ipvs.disable_ipv6 to 0"),
    ],
)
def test_damage_to_ipv6_is_repaired(centre: Centre, damage: str, words: str) -> None:
    """The same of IPv6, and of how clients are kept."""
    centre.node.enforce(WEB6)
    centre.do("lb", damage)
    first, *more = centre.node.enforce(WEB6)
    assert first.startswith(words)
    assert len(more) == ("disable_ipv6" in damage)
    assert centre.node.enforce(WEB6) == ()
    assert centre.ask(family=6)[0] in {"one", "two"}


def test_an_ipv6_address_is_used_at_once_and_never_chosen(centre: Centre) -> None:
    """It is not looked for on the link, as other nodes have it too, and the node never speaks first from it."""
    centre.node.enforce(WEB6)
    (line,) = (
        line for line in centre.do("lb", "ip -6 -oneline addr show dev bascule-ipvs").splitlines() if "global" in line
    )
    assert f"{VIPS[6]}/128" in line
    assert all(word in line for word in ("nodad", "deprecated"))


def test_timeouts_are_kept(centre: Centre) -> None:
    """The namespace has the node's timeouts, and gets them again when somebody sets others."""
    centre.node.driver = centre.node.started(Timeouts(tcp=800, tcp_fin=60, udp=30))
    centre.node.enforce(WEB)
    assert "800 60 30" in centre.do("lb", "ipvsadm --list --timeout")
    centre.do("lb", "ipvsadm --set 800 61 300")
    assert centre.node.enforce(WEB) == (
        "Set IPVS's timeout of TCP FIN to 60 seconds.",
        "Set IPVS's timeout of UDP to 30 seconds.",
    )
    centre.node.restart()
    assert len(centre.node.enforce(WEB)) == 3
    assert centre.node.enforce(WEB) == ()


@pytest.mark.parametrize("family", VIPS)
def test_translation_makes_the_node_forward(centre: Centre, family: int) -> None:
    """Replies of translated connections come back through the node; others need no forwarding."""
    name = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}[family]
    translated = service(backend("near", method=ForwardingMethod.TRANSLATION, family=family), family=family)
    centre.node.enforce(WEB, WEB6)
    centre.sysctl("lb", **{name.replace("/", "__"): 0})
    assert centre.node.enforce(WEB, WEB6) == ()
    assert f"Set net.{name.replace('/', '.')} to 1." in centre.node.enforce(translated)


def test_a_router_still_hears_advertisements(centre: Centre) -> None:
    """A node that learns its default route from others goes on doing so when it begins to forward."""
    centre.node.enforce()
    centre.sysctl("lb", ipv6__conf__all__forwarding=0)
    centre.sysctl("lb", ipv6__conf__eth0__accept_ra=1, ipv6__conf__near__accept_ra=0)
    centre.node.enforce(service(backend("near", method=ForwardingMethod.TRANSLATION, family=6), family=6))
    folder = Path("/proc/sys/net/ipv6/conf")
    found = centre.inside(
        "lb", lambda: [(folder / name / "accept_ra").read_text().strip() for name in ("eth0", "near")]
    )
    assert found == ["2", "0"]


def test_a_removed_link_comes_back(centre: Centre) -> None:
    """With its addresses."""
    centre.node.enforce(WEB)
    centre.ip("lb", "link del bascule-ipvs")
    assert centre.node.observe().ready == frozenset()
    assert len(centre.node.enforce(WEB)) == 3
    assert centre.node.observe().ready == {VIP}


def test_what_is_not_ours_is_left_alone_and_named_once(centre: Centre) -> None:
    """Virtual servers of other addresses, of IPv6 and of marks stay through all that we do, and are reported once."""
    foreign = ["-A -t 192.0.2.7:80 -s rr", "-A -t [2001:db8::7]:80 -s rr", "-A -f 7 -s rr"]
    centre.node.enforce(WEB)
    for each in foreign:
        centre.do("lb", f"ipvsadm {each}")
    said = centre.node.enforce(WEB)
    assert len(said) == 3
    assert all("not ours" in sentence for sentence in said)
    assert centre.node.enforce(WEB) == ()
    centre.node.enforce(held=False)
    left = centre.do("lb", "ipvsadm --save --numeric").splitlines()
    assert {line.split(" -s")[0] for line in left} == {each.split(" -s")[0] for each in foreign}
    centre.do("lb", "ipvsadm --clear")


def test_a_leaving_address_takes_all_of_it_along(centre: Centre) -> None:
    """Also when its process has died meanwhile: the next one knows what was ours, of both families."""
    centre.node.enforce(WEB, WEB6)
    centre.node.restart()
    centre.node.enforce(held=False)
    assert centre.do("lb", "ipvsadm --save --numeric") == ""
    assert centre.do("lb", "ip -brief addr show dev bascule-ipvs to 203.0.113.0/24") == ""
    assert centre.do("lb", "ip -brief addr show dev bascule-ipvs to 2001:db8::/32") == ""


def test_the_namespace_has_the_settings(centre: Centre) -> None:
    """Every setting of IPVS is as wanted, in this namespace."""
    centre.node.enforce(WEB)
    folder = Path("/proc/sys/net/ipv4/vs")
    found = centre.inside("lb", lambda: {name: (folder / name).read_text().strip() for name in sysctls.WANTED})
    assert found == sysctls.WANTED
