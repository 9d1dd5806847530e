"""The XDP data plane with real connections: they survive changes, restarts, damage; what nobody serves is refused."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.model.strategies import EVERYWHERE, Protocol, Strategy
from bascule.model.virtual_services import VirtualService
from bascule.system.commands import run
from tests.bpf.balancer_bench import FAMILIES, reason_to_skip
from tests.bpf.balancer_network import Network, ask
from tests.waiting import until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip()),
    pytest.mark.skipif(shutil.which("ethtool") is None, reason="needs ethtool"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun"),
]

MANY = 12


@pytest.fixture(params=FAMILIES, ids=str)
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path, request.param) as network:
        yield network


def web(network: Network, **weights: int) -> VirtualService:
    """The service on port 80, with the named backends and weights."""
    backends = (network.family.backend(int(name[-1]), weight) for name, weight in weights.items())
    return network.family.service(*backends)


def serving(network: Network, *services: VirtualService) -> XdpDataPlane:
    """A driver that forwards, once it knows the next hops."""
    driver = network.driver()
    network.enforce(driver, *services)
    until("the router's MAC address", lambda: not network.inside("lb", lambda: _unresolved(network, driver, services)))
    return driver


def _unresolved(network: Network, driver: XdpDataPlane, services: tuple[VirtualService, ...]) -> bool:
    driver.enforce({network.family.vip}, services)
    return bool(driver.unresolved())


def close(connections: list[socket.socket]) -> None:
    """Close them all."""
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("strategy", sorted(EVERYWHERE))
def test_connections_survive_a_change_of_backends(network: Network, strategy: Strategy) -> None:
    """A backend comes, drains and comes back: every open connection stays with its backend, new ones follow."""
    both = network.family.service(network.family.backend(1), network.family.backend(2), strategy=strategy)
    driver = serving(
        network, network.family.service(network.family.backend(1), network.family.backend(2, 0), strategy=strategy)
    )
    held = [network.connect() for _ in range(MANY)]
    assert {ask(each) for each in held} == {"backend1"}
    network.enforce(driver, both)
    held += [network.connect() for _ in range(MANY)]
    names = [ask(each) for each in held]
    assert names[:MANY] == ["backend1"] * MANY
    assert "backend2" in names
    for change in (
        network.family.service(network.family.backend(1, 0), network.family.backend(2), strategy=strategy),
        both,
    ):
        network.enforce(driver, change)
        assert [ask(each) for each in held] == names
    close(held)


def test_a_new_process_takes_over_without_losing_a_connection(network: Network) -> None:
    """While no agent runs the program forwards, and the next agent knows the history of every slot."""
    driver = serving(network, web(network, backend1=1, backend2=0))
    held = [network.connect() for _ in range(MANY)]
    network.enforce(driver, web(network, backend1=0, backend2=1))
    driver.close()
    held.append(network.connect())
    names = [ask(each) for each in held]
    assert names == ["backend1"] * MANY + ["backend2"]
    successor = network.driver()
    sentences = network.enforce(successor, web(network, backend1=0, backend2=1))
    assert sentences == ("Attached the XDP program to eth0.",)
    assert successor.dirty_slots() > 60000
    assert [ask(each) for each in held] == names
    network.enforce(successor, web(network, backend1=1, backend2=1))
    assert [ask(each) for each in held] == names
    close(held)


@pytest.mark.parametrize("strategy", [Strategy.MAGLEV_HASH, Strategy.SOURCE_HASH])
def test_connections_survive_a_change_and_the_loss_of_their_lb_node(network: Network, strategy: Strategy) -> None:
    """A node that remembers no flow of a moved slot, as another one when the first dies, finds each one's backend."""

    def service(first: int, second: int) -> VirtualService:
        backends = (network.family.backend(1, first), network.family.backend(2, second))
        return network.family.service(*backends, strategy=strategy)

    driver = serving(network, service(1, 0))
    held = [network.connect() for _ in range(MANY)]
    assert {ask(each) for each in held} == {"backend1"}
    network.enforce(driver, service(0, 1))
    held += [network.connect() for _ in range(MANY)]
    names = [ask(each) for each in held]
    assert names == ["backend1"] * MANY + ["backend2"] * MANY

    with driver.memory("flows") as memory:
        memory[:] = bytes(len(memory))

    assert [ask(each) for each in held] == names
    network.enforce(driver, service(1, 0))
    assert [ask(each) for each in held] == names
    close(held)


def test_connections_of_a_dead_backend_move_on(network: Network) -> None:
    """A backend that is no longer named gets nothing any more; new connections go to the others at once."""
    driver = serving(network, web(network, backend1=1, backend2=1))
    network.enforce(driver, web(network, backend2=1))
    held = [network.connect() for _ in range(MANY)]
    assert {ask(each) for each in held} == {"backend2"}
    close(held)


def test_a_detached_program_is_attached_again(network: Network) -> None:
    """Packets that met no program meanwhile are dropped, not refused: the connection goes on."""
    driver = serving(network, web(network, backend1=1))
    held = network.connect()
    assert ask(held) == "backend1"
    network.ip("lb", "link set eth0 xdp off")
    assert network.inside("lb", driver.observe).ready == frozenset()
    held.sendall(b"lost once\n")
    assert network.enforce(driver, web(network, backend1=1)) == ("Attached the XDP program to eth0.",)
    assert held.recv(100) == b"backend1\n"
    held.close()


def test_a_deleted_address_is_put_back(network: Network) -> None:
    """Somebody deletes the VIP: the next pass adds it again and says so."""
    driver = serving(network, web(network, backend1=1))
    network.ip("lb", f"addr del {network.family.vip} dev lo")
    assert network.enforce(driver, web(network, backend1=1)) == (f"Added address {network.family.vip} to lo.",)


def test_flushed_rules_are_written_again(network: Network) -> None:
    """Somebody flushes all nftables rules: the next pass writes them again."""
    driver = serving(network, web(network, backend1=1))
    run(["ip", "netns", "exec", network.of("lb"), "nft", "flush", "ruleset"])
    (sentence,) = network.enforce(driver, web(network, backend1=1))
    assert "nftables" in sentence
    assert network.enforce(driver, web(network, backend1=1)) == ()


@pytest.mark.parametrize("name", ["services", "rings", "backends", "sequences"])
def test_altered_tables_are_written_again(network: Network, name: str) -> None:
    """Somebody zeroes a map: the next pass restores it, history included, with a sentence."""
    driver = serving(network, web(network, backend1=1))
    with driver.memory(name) as memory:
        memory[8:] = bytes(len(memory) - 8)
    sentences = network.enforce(driver, web(network, backend1=1))
    assert sentences or name == "sequences"
    assert network.enforce(driver, web(network, backend1=1)) == ()
    connection = network.connect()
    assert ask(connection) == "backend1"
    connection.close()


def test_what_nobody_serves_is_refused(network: Network) -> None:
    """TCP is reset and UDP answered "port unreachable": without backends, without service, and on the node's ports."""
    listener = network.inside("lb", lambda: network.listener(22))
    driver = serving(network, network.family.service(), network.family.service(port=53, protocol=Protocol.UDP))
    for port in (80, 81, 22):
        with pytest.raises(ConnectionRefusedError):
            network.connect(port)
    with network.udp() as udp:
        udp.send(b"hello")
        with pytest.raises(ConnectionRefusedError):
            udp.recv(100)
    network.enforce(driver)
    with pytest.raises(ConnectionRefusedError):
        network.connect()
    listener.close()


def test_a_large_upload_shrinks_to_the_tunnel(network: Network) -> None:
    """The client believes the LB node's "too big", and its packets fit from then on."""
    serving(network, web(network, backend1=1))
    connection = network.connect()
    connection.sendall(bytes(300_000))
    assert ask(connection) == "backend1"
    fits = 1500 - network.family.overhead
    assert f"mtu {fits} " in network.ip("client", f"route get {network.family.vip}")
    connection.close()


def test_fragments_are_dropped_and_not_refused(network: Network) -> None:
    """Only a first fragment has ports: a datagram in pieces for a served port is lost, not denied."""
    serving(network, network.family.service(network.family.backend(1), port=53, protocol=Protocol.UDP))
    rules = {4: ["@served"], 6: ["@served_v6", "frag exists"]}

    def dropped() -> bool:
        udp.send(bytes(2000))
        listed = network.inside("lb", lambda: run(["nft", "list", "table", "inet", "bascule_xdp"]))
        return all(re.search(f"{rule} counter packets [1-9]", listed) for rule in rules[network.family.version])

    with network.udp() as udp:
        until("the fragments to be dropped", dropped)
        udp.setblocking(False)
        with pytest.raises(BlockingIOError):
            udp.recv(100)


def test_ping_is_answered(network: Network) -> None:
    """An address that is held answers ping, with or without services."""
    serving(network, web(network, backend1=1))
    assert network.ping()


def test_a_next_hop_that_changes_its_mac_is_followed(network: Network) -> None:
    """The router gets another network card: the backends' entries follow without a pass of the driver."""
    serving(network, web(network, backend1=1))
    held = network.connect()
    assert ask(held) == "backend1"
    network.ip("router", "link set to-lb address 02:00:00:00:07:07")
    network.ip("lb", f"neigh replace {network.gateway('lb')} lladdr 02:00:00:00:07:07 dev eth0 nud reachable")
    assert ask(held) == "backend1"
    held.close()
