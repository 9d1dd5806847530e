"""The forwarding `netfilter` against a kernel that others change: what it repairs, says, and leaves alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.forwarding.netfilter.render import mark, where
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from tests.bpf.hypervisor_network import Network, reason_to_skip, rule, sysctl
from tests.bpf.hypervisor_programs import Family
from tests.bpf.packets import Ends, tcp, tunnelled
from tests.waiting import until

ACK, FIN = 0x10, 0x01
_REASON = reason_to_skip() or ("" if shutil.which("nft") else "needs nft: install nftables")

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(_REASON), reason=_REASON)]


@pytest.fixture
def network(tmp_path: Path, family: Family) -> Iterator[Network]:
    """The namespaces, with a tunnel to the first instance."""
    with Network(tmp_path, "netfilter", family) as built:
        built.tunnel(80, built.first)
        yield built


def nft(network: Network, words: str) -> str:
    """`nft ...` on the hypervisor."""
    return network.inside("hypervisor", lambda: run(["nft", words]))


def assert_serves(network: Network) -> None:
    """A connection through the VIP is answered by the first instance."""
    with network.serve("instance1", 8080) as listener, network.connect(network.vip, 80) as client:
        server, _ = listener.accept()
        with server:
            server.sendall(b"served")
            assert client.recv(100) == b"served"


def test_everything_flushed_comes_back(network: Network) -> None:
    """After `nft flush ruleset` the next enforcement says what it wrote, and an open connection goes on."""
    driver = network.driver(network.web, network.other)
    with network.serve("instance1", 8080) as listener, network.connect(network.vip, 80) as client:
        server, _ = listener.accept()
        with server:
            nft(network, "flush ruleset")
            assert network.inside("hypervisor", driver.observe).instances == frozenset()

            repairs = network.enforce(driver, network.web, network.other)

            assert [f"Wrote the nftables table {where(version)}." in repairs for version in (4, 6)] == [True, True]
            assert len([repair for repair in repairs if "rule" in repair]) == 2
            assert network.inside("hypervisor", driver.observe).instances == {network.first, network.second}
            client.sendall(b"still here?")
            assert server.recv(100) == b"still here?"
            server.sendall(b"yes")
            assert client.recv(100) == b"yes"


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain {table} guard",
        "flush chain {table} reply",
        "add rule {table} guard drop",
        "add chain {table} strange",
    ],
)
def test_a_changed_chain_is_put_right(network: Network, damage: str) -> None:
    """Whatever somebody does to a chain of ours is noticed, said and undone."""
    driver = network.driver(network.web)
    nft(network, damage.format(table=where(network.family.version)))
    assert network.inside("hypervisor", driver.observe).instances == frozenset()

    assert network.enforce(driver, network.web) == (f"Wrote the nftables table {where(network.family.version)}.",)

    assert network.enforce(driver, network.web) == ()
    assert_serves(network)


def test_a_changed_set_is_put_right(network: Network) -> None:
    """An element taken out of the guard's set comes back, and the counters count on."""
    driver = network.driver(network.web)
    assert_serves(network)
    before = network.counters(driver)["translated"]
    nft(network, f"flush set {where(network.family.version)} instances")

    assert network.enforce(driver, network.web) == (
        f"Repaired the sets of the nftables table {where(network.family.version)}.",
    )

    assert network.counters(driver)["translated"] >= before > 0


def test_tables_of_others_are_left_alone(network: Network) -> None:
    """Somebody's own table, NAT and marks included, is the same after rules came and went."""
    foreign = (
        "table ip theirs { chain nat { type nat hook prerouting priority dstnat; meta mark 7 dnat to 192.0.2.9; }; }"
    )
    nft(network, foreign)
    before = nft(network, "list table ip theirs")
    driver = network.driver(network.web)
    assert_serves(network)
    network.enforce(driver)

    assert nft(network, "list table ip theirs") == before


def test_a_change_of_rules_leaves_connections_alone(network: Network) -> None:
    """While rules of another service come and go, an open connection goes on."""
    driver = network.driver(network.web)
    with network.serve("instance1", 8080) as listener, network.connect(network.vip, 80) as client:
        server, _ = listener.accept()
        with server:
            for rules in ((network.web, network.other), (network.web,), (network.web, rule(81, network.first, 9))):
                network.enforce(driver, *rules)
                client.sendall(b"one word")
                assert server.recv(100) == b"one word"


def test_strays_do_not_circle(network: Network) -> None:
    """What conntrack cannot place, such as a late FIN of a forgotten connection, is dropped and counted."""
    driver = network.driver(network.web)
    network.send_raw(tunnelled(network.first, tcp(Ends(network.client, 40000, network.vip, 80), flags=FIN | ACK)))

    until("the packet to be dropped", lambda: network.counters(driver)["dropped_no_rule"] == 1)


def test_nothing_circles_without_the_table(network: Network) -> None:
    """While nftables' rules are gone, what came out of a tunnel is not sent back to where it came from."""
    network.ip("hypervisor", f"route add {network.vip} via {network.client}")
    driver = network.driver(network.web)
    nft(network, "flush ruleset")
    network.send_raw(tunnelled(network.first, tcp(Ends(network.client, 40000, network.vip, 80))))

    until("the packet to be dropped", lambda: network.counters(driver)["dropped_untranslated"] == 1)


def test_the_mark_ends_with_the_translation(network: Network) -> None:
    """Policy routing by mark never sees ours: a blackhole for the instance's mark catches nothing."""
    network.driver(network.web)
    network.do("hypervisor", f"ip -{network.family.version} rule add fwmark {mark(network.first):#x} blackhole")
    assert_serves(network)


def test_strict_rp_filter_towards_instances_does_no_harm(network: Network) -> None:
    """Replies are translated after rp_filter has seen them, so a strict one lets them pass."""
    network.inside("hypervisor", lambda: sysctl("conf/tap1/rp_filter", "1"))
    network.inside("hypervisor", lambda: sysctl("conf/uplink0/rp_filter", "1"))
    network.driver(network.web)
    assert_serves(network)


def test_a_host_that_does_not_forward_is_named(network: Network) -> None:
    """Without ip_forward all is put in place, and the sysctl to change is named."""
    driver = network.start()
    network.inside("hypervisor", lambda: sysctl("ip_forward", "0"))
    with pytest.raises(SystemFailure, match=r"net\.ipv4\.ip_forward=1"):
        network.enforce(driver, network.web)
    network.inside("hypervisor", lambda: sysctl("ip_forward", "1"))

    assert network.enforce(driver, network.web) == ()


def test_a_removed_filter_is_attached_again(network: Network) -> None:
    """Somebody deletes the qdisc with our filter: the next enforcement puts it back and names the interface."""
    driver = network.driver(network.web)
    run(["tc", "-n", network.of("hypervisor"), "qdisc", "del", "dev", "uplink0", "clsact"])

    repairs = network.enforce(driver, network.web)

    assert repairs == ("Attached hypervisor_guard to uplink0.", "Attached hypervisor_decapsulate to uplink0.")
    assert_serves(network)


def test_it_takes_over_from_ebpf(tmp_path: Path) -> None:
    """On a host where `ebpf` forwarded, its filters on instances' interfaces go, and service goes on."""
    with Network(tmp_path) as network:
        network.tunnel(80, network.first)
        network.driver(network.web).close()
        network.forwarding = "netfilter"
        driver = network.start()

        repairs = network.enforce(driver, network.web)

        assert "Detached what an earlier process left on tap1." in repairs
        assert_serves(network)
        assert network.counters(driver)["replied"] > 0
