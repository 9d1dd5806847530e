"""The forwarding `netfilter` without nftables, against a kernel that others change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.system.commands import run
from tests.bpf.hypervisor_network import CLIENT, INSTANCES, VIP, Network, reason_to_skip, rule, without_iptables
from tests.bpf.packets import Ends, tcp, tunnelled
from tests.bpf.test_netfilter_repairs import ACK, FIN, assert_serves
from tests.waiting import until

FIRST, SECOND = INSTANCES
WEB, OTHER = rule(80, FIRST, 8080), rule(81, SECOND, 8081)
_REASON = reason_to_skip() or without_iptables()

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(_REASON), reason=_REASON)]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """The namespaces, with a tunnel to the first instance."""
    with Network(tmp_path, "iptables") as built:
        built.tunnel(80, FIRST)
        yield built


def iptables(network: Network, *words: str) -> str:
    """`iptables-legacy ...` on the hypervisor."""
    return network.inside("hypervisor", lambda: run(["iptables-legacy", *words]))


@pytest.mark.parametrize(
    "damage",
    [
        "-t mangle -F BASCULE-GUARD",
        "-t mangle -F BASCULE-REPLY",
        "-t mangle -A BASCULE-FATE -j DROP",
        "-t mangle -F FORWARD",
        "-t nat -F PREROUTING",
    ],
)
def test_a_changed_chain_is_put_right(network: Network, damage: str) -> None:
    """Whatever somebody does to a chain of ours, or to a way into it, is noticed, said and undone."""
    driver = network.driver(WEB)
    iptables(network, *damage.split())
    assert network.inside("hypervisor", driver.observe).instances == frozenset()

    (sentence,) = network.enforce(driver, WEB)

    assert sentence.startswith("Wrote the iptables-legacy chains ")
    assert network.enforce(driver, WEB) == ()
    assert_serves(network)


def test_rules_of_others_are_left_alone(network: Network) -> None:
    """Somebody's own rules, in the very chains from which ours are reached, are the same after rules came and went."""
    iptables(network, "-t", "nat", "-A", "PREROUTING", "-m", "mark", "--mark", "7", "-j", "DNAT", "--to", "192.0.2.9")
    before = iptables(network, "-t", "nat", "-S", "PREROUTING").splitlines()
    driver = network.driver(WEB)
    assert_serves(network)
    network.enforce(driver)

    after = iptables(network, "-t", "nat", "-S", "PREROUTING").splitlines()
    assert [line for line in after if "BASCULE" not in line] == before


def test_a_change_of_rules_keeps_connections_and_counters(network: Network) -> None:
    """While rules of another service come and go, an open connection goes on, and the counters count on."""
    driver = network.driver(WEB)
    with network.serve("instance1", 8080) as listener, network.connect(VIP, 80) as client:
        server, _ = listener.accept()
        with server:
            counted = 0
            for rules in ((WEB, OTHER), (WEB,), (WEB, rule(81, FIRST, 9))):
                network.enforce(driver, *rules)
                client.sendall(b"one word")
                assert server.recv(100) == b"one word"
                before, counted = counted, network.counters(driver)["translated"]
                assert counted > before


def test_strays_do_not_circle(network: Network) -> None:
    """What conntrack cannot place, such as a late FIN of a forgotten connection, is dropped and counted."""
    network.ip("hypervisor", f"route add {VIP} via {CLIENT}")
    driver = network.driver(WEB)
    network.send_raw(tunnelled(FIRST, tcp(Ends(CLIENT, 40000, VIP, 80), flags=FIN | ACK)))

    until("the packet to be dropped", lambda: network.counters(driver)["dropped_no_rule"] == 1)


def test_nothing_circles_without_the_chains(network: Network) -> None:
    """While the rules are gone, what came out of a tunnel is not sent back to where it came from."""
    network.ip("hypervisor", f"route add {VIP} via {CLIENT}")
    driver = network.driver(WEB)
    iptables(network, "-t", "mangle", "-F", "FORWARD")
    iptables(network, "-t", "nat", "-F", "PREROUTING")
    network.send_raw(tunnelled(FIRST, tcp(Ends(CLIENT, 40000, VIP, 80))))

    until("the packet to be dropped", lambda: network.counters(driver)["dropped_untranslated"] == 1)
