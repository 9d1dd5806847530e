"""Which VRRP instances a node runs: all nodes of a segment come to the same conclusion by themselves."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.announcers.vrrp.plan import plan, priority, router_id, sources
from bascule.announcers.vrrp.render import VrrpOptions
from bascule.model.addresses import IPAddress
from bascule.model.errors import InvalidInput

NODES = tuple(map(ip_address, ("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "fd00::3")))
OPTIONS = VrrpOptions(interface="eth0", nodes=NODES)
OWN = sources(OPTIONS, frozenset(map(ip_address, ("10.0.0.2", "fd00::2", "192.0.2.1"))))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def test_a_node_finds_its_own_addresses() -> None:
    """Of the addresses of all nodes, which are the same everywhere, a machine takes the ones it has."""
    assert {4: ip_address("10.0.0.2"), 6: ip_address("fd00::2")} == OWN


@pytest.mark.parametrize("own", [(), ("10.0.0.1", "10.0.0.2", "fd00::1")], ids=["none", "two"])
def test_a_machine_that_is_no_node_or_two_is_refused(own: tuple[str, ...]) -> None:
    """Whoever cannot be told from the others must not speak for one of them."""
    with pytest.raises(InvalidInput, match=r"BASCULE_VRRP_NODES names [02] addresses of this machine"):
        sources(OPTIONS, frozenset(map(ip_address, own)))


@given(address=ADDRESSES, first=st.integers(1, 255), more=st.integers(0, 254))
def test_a_router_id_is_of_its_range(address: IPAddress, first: int, more: int) -> None:
    """Whatever the address, its number is one of ours, and its neighbour's is another as long as there are two."""
    ids = (first, min(255, first + more))
    number = router_id(address, ids)
    assert ids[0] <= number <= ids[1]
    if ids[0] < ids[1] and int(address) + 1 < 2**address.max_prefixlen:
        neighbour = router_id(address + 1, ids)
        assert neighbour != number


@given(number=st.integers(1, 255), count=st.integers(1, 12))
def test_priorities_are_a_ranking_that_goes_round(number: int, count: int) -> None:
    """The nodes have different priorities, legal ones, and the next number has another first."""
    nodes = [ip_address("10.0.0.1") + each for each in range(count)]
    ranking = {node: priority(number, node, reversed(nodes)) for node in nodes}
    assert len(set(ranking.values())) == count
    assert all(1 <= each <= 254 for each in ranking.values())
    best = max(nodes, key=lambda node: ranking[node])
    following = max(nodes, key=lambda node: priority(number + 1, node, nodes))
    assert (best != following) == (count > 1)


def test_an_address_takes_part_with_everyone_of_its_family() -> None:
    """An instance speaks from the node's address of the family to those of all the others."""
    [six, *_] = reversed(plan(OPTIONS, OWN, {ip_address("2001:db8::7"), ip_address("192.0.2.7")}).instances)
    assert (six.source, six.peers) == (ip_address("fd00::2"), (ip_address("fd00::1"), ip_address("fd00::3")))
    assert six.name == "vip-2001:db8::7"


def test_two_addresses_of_one_router_id_are_refused() -> None:
    """The second of them would answer for the first: it is not announced, and a sentence says why."""
    found = plan(OPTIONS, OWN, {ip_address("192.0.2.1"), ip_address("192.0.2.1") + 255})
    assert [each.address for each in found.instances] == [ip_address("192.0.2.1")]
    [refusal] = found.refusals
    assert refusal.startswith("192.0.3.0 cannot be announced: 192.0.2.1 has its VRRP router id")


def test_a_family_without_two_nodes_is_refused() -> None:
    """An address that no peer could take over is not announced as if one could."""
    options = VrrpOptions(interface="eth0", nodes=(*NODES[:2], NODES[3]))
    own = sources(options, frozenset({NODES[0], NODES[3]}))
    found = plan(options, own, {ip_address("192.0.2.1"), ip_address("2001:db8::7")})
    assert [each.address for each in found.instances] == [ip_address("192.0.2.1")]
    assert found.refusals == (
        "2001:db8::7 cannot be announced: BASCULE_VRRP_NODES names no two nodes by IPv6. Add them.",
    )


def test_a_lapsed_or_lonely_plan_is_empty() -> None:
    """Nothing to announce is nothing to run."""
    assert plan(OPTIONS, OWN, frozenset()).instances == ()
