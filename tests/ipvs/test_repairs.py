"""What somebody else does to the node comes back; what is somebody else's stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.dataplanes.ipvs import sysctls
from tests.ipvs.bench import VIP, service
from tests.ipvs.centre import Centre, backend

pytestmark = pytest.mark.root
WEB = service(backend("one"), backend("two", 3))


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
    """Also when its process has died meanwhile: the next one knows what was ours."""
    centre.node.enforce(WEB)
    centre.node.driver = centre.node.started()
    centre.node.enforce(held=False)
    assert centre.do("lb", "ipvsadm --save --numeric") == ""
    assert centre.do("lb", "ip -4 -brief addr show dev bascule-ipvs") == ""


def test_the_namespace_has_the_settings(centre: Centre) -> None:
    """Every setting of IPVS is as wanted, in this namespace."""
    centre.node.enforce(WEB)
    folder = Path("/proc/sys/net/ipv4/vs")
    found = centre.inside("lb", lambda: {name: (folder / name).read_text().strip() for name in sysctls.WANTED})
    assert found == sysctls.WANTED
