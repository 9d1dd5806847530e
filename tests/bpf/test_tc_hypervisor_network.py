"""Real packets: a client, its LB node's tunnels, a hypervisor and two instances, each with its own network stack.

Over both families and both drivers, the second by nftables and by iptables. They differ in two things: `netfilter`
translates ICMP errors of connections that it knows only, and gives a client's connection another source port where that
client speaks to the instance directly from the same one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import pytest

from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol
from tests.bpf.hypervisor_network import (
    Network,
    let_forward,
    reason_to_skip,
    rule,
    sysctl,
    without_iptables,
)
from tests.bpf.hypervisor_programs import Family
from tests.bpf.packets import FIN, SYN, Ends, frame, icmp_error, tcp, tunnelled, tunnelled_twice, udp
from tests.waiting import until

MEGABYTES_8 = bytes(range(256)) * 32768

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


@pytest.fixture(params=["ebpf", "netfilter", "iptables"])
def network(request: pytest.FixtureRequest, tmp_path: Path, family: Family) -> Iterator[Network]:
    """The namespaces, with tunnels to the first instance for ports 80 and 53 and to the second for port 81."""
    if request.param == "iptables" and (reason := without_iptables()):
        pytest.skip(reason)
    with Network(tmp_path, request.param, family) as built:
        built.tunnel(80, built.first)
        built.tunnel(53, built.first)
        built.tunnel(81, built.second)
        yield built


def echo(client: socket.socket, server: socket.socket, word: bytes = b"hello") -> bool:
    """Whether a word makes it there and back."""
    client.sendall(word)
    server.sendall(server.recv(100))
    return client.recv(100) == word


def receive_all(connection: socket.socket) -> bytes:
    """Everything until the other end closes its side."""
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def test_two_services_on_one_hypervisor(network: Network) -> None:
    """Each port of the VIP reaches its own instance, which sees the client, and the client hears from the VIP."""
    network.driver(network.web, network.other)
    for port, host, target_port in ((80, "instance1", 8080), (81, "instance2", 8081)):
        with network.serve(host, target_port) as listener, network.connect(network.vip, port) as client:
            server, seen = listener.accept()
            with server:
                assert seen == client.getsockname()
                assert seen[0] == str(network.client)
                assert client.getpeername()[:2] == (str(network.vip), port)
                assert echo(client, server)


def test_bulk_in_both_directions(network: Network) -> None:
    """Segmentation and checksums left to the device survive the tunnel, both translations, and megabytes."""
    driver = network.driver(network.web)
    with (
        network.serve("instance1", 8080) as listener,
        network.connect(network.vip, 80) as client,
        ThreadPoolExecutor(1) as sender,
    ):
        server, _ = listener.accept()
        with server:
            for source, sink in ((client, server), (server, client)):
                sent = sender.submit(source.sendall, MEGABYTES_8)
                received = b""
                while len(received) < len(MEGABYTES_8):
                    received += sink.recv(1 << 20)
                sent.result()
                assert received == MEGABYTES_8
    counters = network.counters(driver)
    assert counters["translated"] < len(MEGABYTES_8) // 1480, "segments were expected to come in batches"
    assert counters["dropped_no_rule"] == counters["dropped_malformed"] == 0


def test_udp_and_its_errors(network: Network) -> None:
    """A datagram is answered from the VIP, in fragments too; a closed port is reported to the client's socket."""
    network.driver(network.dns)
    with network.udp("client") as client:
        client.connect((str(network.vip), 53))
        with network.udp("instance1", 5353) as server:
            client.send(b"question")
            _, peer = server.recvfrom(100)
            server.sendto(MEGABYTES_8[:5000], peer)
            assert client.recv(9000) == MEGABYTES_8[:5000]
        client.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


def test_path_mtu_discovery_of_the_instance(network: Network) -> None:
    """ "Fragmentation needed", sent to the VIP by a router on the reply's way, lowers the instance's path MTU."""
    driver = network.driver(network.dns)
    with network.udp("instance1", 5353) as server, network.udp("client", 40000) as client:
        client.sendto(b"question", (str(network.vip), 53))
        server.recv(100)
        reply = udp(Ends(network.vip, 53, network.client, 40000), payload=bytes(1400))
        network.send_raw(tunnelled(network.first, icmp_error(network.router, reply[:1200])))

        until("the path MTU to fall", lambda: "mtu 1400" in network.ip("instance1", f"route get {network.client}"))
        assert driver.name == "netfilter" or network.counters(driver)["icmp_translated"] == 1


def test_direct_connections_are_left_alone(network: Network) -> None:
    """A direct connection works beside one through the VIP, and right after one from the same client port."""
    driver = network.driver(network.web)
    with network.serve("instance1", 8080) as listener:
        for address, port in ((network.vip, 80), (network.first, 8080), (network.vip, 80)):
            with network.connect(address, port, source_port=40000) as client:
                server, seen = listener.accept()
                with server:
                    assert seen[0] == str(network.client)
                    assert seen[1] == 40000 or driver.name == "netfilter"
                    assert client.getpeername()[:2] == (str(address), port)
                    assert echo(client, server)
                    client.close()
                    assert server.recv(1) == b""
    assert driver.name == "netfilter" or network.counters(driver)["direct_flow_forgotten"] == 1


def test_a_flow_that_moves_reaches_its_new_instance(network: Network) -> None:
    """Datagrams of one client's port go where the LB node sends them now, though both instances live on this host."""
    network.driver(network.dns, rule(53, network.second, 5353, Protocol.UDP))
    with network.udp("client") as client:
        client.connect((str(network.vip), 53))
        for number, instance in ((1, network.first), (2, network.second), (1, network.first)):
            network.tunnel(53, instance)
            with network.udp(f"instance{number}", 5353) as server:
                client.send(b"question")
                question, peer = server.recvfrom(100)
                server.sendto(question, peer)
                assert client.recv(100) == b"question"


def ask_twice(network: Network, first: IPAddress, second: IPAddress, word: bytes, *, client_port: int = 40000) -> None:
    """A datagram in two tunnels, from a port of the client's."""
    question = udp(Ends(network.client, client_port, network.vip, 53), payload=word)
    network.send_raw(tunnelled_twice(first, second, question))


def test_a_datagram_with_two_headers_goes_where_its_flow_is(network: Network) -> None:
    """To the first instance if that has its flow, else to the second, and what is unknown makes a flow there."""
    driver = network.driver(network.dns, rule(53, network.second, 5353, Protocol.UDP))
    with (
        network.udp("client", 40000) as known,
        network.udp("client", 40001) as unknown,
        network.udp("instance1", 5353) as one,
        network.udp("instance2", 5353) as two,
    ):
        known.sendto(b"through one tunnel", (str(network.vip), 53))
        assert one.recv(100) == b"through one tunnel"
        for client, server in ((known, one), (unknown, two)):
            ask_twice(network, network.first, network.second, b"question", client_port=client.getsockname()[1])
            question, peer = server.recvfrom(100)
            assert question == b"question"
            server.sendto(b"answer", peer)
            answer, address = client.recvfrom(100)
            assert (answer, address[:2]) == (b"answer", (str(network.vip), 53))
    counters = network.counters(driver)
    assert (counters["second_chance_kept"], counters["second_chance_passed"]) == (1, 1)


def test_a_port_is_used_again_at_the_second_instance(network: Network) -> None:
    """The first one's connection from that port is over: what is numbered after its end is not for it."""
    driver = network.driver(network.web)
    # A client's kernel would end what it did not begin, and an instance's what comes for no port that listens.
    ends = Ends(ip_address(int(network.client) + 7), 40002, network.vip, 80)

    def counted() -> tuple[int, int]:
        counters = network.counters(driver)
        return counters["second_chance_kept"], counters["second_chance_passed"]

    with network.serve("instance1", 8080):
        for flags, sequence in ((SYN, 1_000), (FIN, 2_000)):
            network.send_raw(tunnelled(network.first, tcp(ends, flags, sequence=sequence)))
        for sequence in (2_001, 900_000):
            network.send_raw(tunnelled_twice(network.first, network.second, tcp(ends, 0, sequence=sequence)))
        until("both packets", lambda: sum(counted()) == 2)
    assert counted() == (1, 1)


def test_a_second_instance_elsewhere_is_reached_through_the_network(network: Network) -> None:
    """The kernel sends on what is left, with the LB node's address as its source; strict rp_filter lets it."""
    network.inside("hypervisor", lambda: sysctl("conf/uplink0/rp_filter", "1"))
    lb_node = {4: "10.99.1.2", 6: "2001:db8:99::1:2"}[network.family.version]
    network.ip("hypervisor", f"route add {lb_node} via {network.client}")
    network.driver(network.dns)
    with network.tunnels_seen() as elsewhere:
        ask_twice(network, network.first, network.client, b"for another hypervisor")
        packet, sender = elsewhere.recvfrom(200)
    assert packet.endswith(b"for another hypervisor")
    assert sender[0] == lb_node


def test_known_flows_outlive_the_process(network: Network) -> None:
    """The next process's programs know which flows an instance has."""
    first = network.driver(network.dns)
    with network.udp("client", 40000) as client, network.udp("instance1", 5353) as one:
        client.sendto(b"question", (str(network.vip), 53))
        assert one.recv(100) == b"question"
        first.close()
        network.driver(network.dns)
        ask_twice(network, network.first, network.second, b"known")
        assert one.recv(100) == b"known"


def test_the_mss_fits_the_tunnel(network: Network) -> None:
    """The client never sends more than fits the tunnel; directly it may send what fits its link."""
    network.driver(network.web)
    with network.serve("instance1", 8080):
        sizes = []
        for address, port in ((network.vip, 80), (network.first, 8080)):
            with network.connect(address, port) as client:
                sizes.append(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))

    # Timestamps take 12 bytes of every segment (RFC 7323).
    assert sizes == [network.family.mss - 12, 1500 - network.family.header - 20 - 12]


def test_a_client_on_the_same_hypervisor(network: Network) -> None:
    """An instance reaches a service that its neighbour on the same host provides, by way of the LB node."""
    network.driver(network.web)
    network.ip("hypervisor", f"route add {network.vip} via {network.client}")
    network.inside("client", let_forward)
    with network.serve("instance1", 8080) as listener, network.connect(network.vip, 80, host="instance2") as client:
        server, seen = listener.accept()
        with server:
            assert seen[0] == str(network.second)
            assert client.getpeername()[:2] == (str(network.vip), 80)
            assert echo(client, server)


def test_an_instance_behind_a_bridge(network: Network) -> None:
    """The interface that counts is the one the route names: a bridge serves the instances that are plugged into it."""
    for words in ("link add br0 type bridge", "link set br0 up", "link set tap1 master br0"):
        network.ip("hypervisor", words)
    network.remove_route(network.first, "tap1")
    network.add_route(network.first, "br0")
    network.driver(network.web)
    with network.serve("instance1", 8080) as listener, network.connect(network.vip, 80) as client:
        server, _ = listener.accept()
        with server:
            assert echo(client, server)


def test_an_absent_rule_drops_instead_of_looping(network: Network) -> None:
    """A tunnelled packet for a port without rule is dropped, and counted once per packet."""
    network.ip("hypervisor", f"route add {network.vip} via {network.client}")
    driver = network.driver(network.web)
    network.send_raw(tunnelled(network.first, udp(Ends(network.client, 40000, network.vip, 9))))

    until("the packet to be dropped", lambda: network.counters(driver)["dropped_no_rule"] == 1)
    assert network.counters(driver)["decapsulated"] == 1


def test_tunnels_in_a_vlan_are_left_alone(network: Network) -> None:
    """A tagged packet belongs to the VLAN's own interface; whoever wants its tunnels names that one as uplink."""
    driver = network.driver(network.web)
    before = network.counters(driver)
    whole = frame(tunnelled(network.first, tcp(Ends(network.client, 40000, network.vip, 80))))
    tagged = b"\xff" * 6 + whole[6:12] + bytes.fromhex("81000005") + whole[12:]
    with network.inside("client", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as wire:
        network.inside("client", lambda: wire.bind(("eth0", 0)))
        wire.send(tagged)

    until("the packet to arrive", lambda: network.counters(driver)["passed_other"] > before["passed_other"])
    assert network.counters(driver)["decapsulated"] == 0


def test_connections_live_through_a_takeover(network: Network) -> None:
    """While no process runs, and when the next one takes over, a connection goes on in both directions."""
    first = network.driver(network.web)
    with network.serve("instance1", 8080) as listener, network.connect(network.vip, 80) as client:
        server, _ = listener.accept()
        with server:
            assert echo(client, server)
            first.close()
            assert echo(client, server, b"nobody home")

            # The server speaks first: its packet finds a flow only if the first process's flows were taken over.
            second = network.driver(network.web)
            server.sendall(b"unasked")
            assert client.recv(100) == b"unasked"
            assert echo(client, server, b"taken over")
    assert network.counters(second)["replied"] > 0


def test_a_takeover_loses_no_packet(network: Network) -> None:
    """Datagrams that go back and forth while one process after the other takes over are all answered."""
    network.driver(network.dns)
    done = Event()
    with network.udp("client") as client, network.udp("instance1", 5353) as server, ThreadPoolExecutor(1) as player:
        client.connect((str(network.vip), 53))

        def play() -> int:
            rounds = 0
            while not done.is_set():
                client.send(b"%d" % rounds)
                server.sendto(*server.recvfrom(100))
                assert client.recv(100) == b"%d" % rounds
                rounds += 1
            return rounds

        rounds = player.submit(play)
        try:
            for _ in range(5):
                network.driver(network.dns)
        finally:
            done.set()
        assert rounds.result() > 5
