"""The XDP balancer on single packets: packet in, verdict, packet out (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import pytest

from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.dataplanes.xdp.tables import IdleTimes
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import VirtualService
from tests.bpf import hypervisor_packets as packets
from tests.bpf.balancer_bench import (
    CLIENT,
    ROUTER_MAC,
    TUNNEL_SOURCE,
    VIP,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    Bench,
    backend,
    reason_to_skip,
    service,
)
from tests.bpf.hypervisor_packets import ACK, SYN, Ends, frame

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]

WEB = service(backend(1), backend(2), backend(3))
DNS = service(backend(1), backend(2), port=53, protocol=Protocol.UDP)
EMPTY = service(port=81)
MAC = bytes.fromhex("020000000001")
OUTER = 14 + 20


def to_vip(port: int = 80, client_port: int = 40000, client: IPv4Address = CLIENT) -> Ends:
    """A client's flow to the VIP."""
    return Ends(client, client_port, VIP, port)


def of_type(ethernet_type: int, payload: bytes = bytes(46)) -> bytes:
    """A frame of some other protocol."""
    return frame(b"")[:12] + struct.pack("!H", ethernet_type) + payload


def dont_fragment(packet: bytes) -> bytes:
    """The packet with DF set."""
    header = packet[:6] + b"\x40\x00" + packet[8:10] + b"\0\0" + packet[12:20]
    return header[:10] + struct.pack("!H", packets.checksum(header)) + header[12:] + packet[20:]


SYN_TO_WEB = packets.tcp(to_vip(), SYN)


@dataclass(frozen=True)
class Refused:
    """A frame that is not balanced, and the counter that says so."""

    sentence: str
    frame: bytes
    counter: str
    verdict: int = XDP_PASS


REFUSED = (
    Refused("a frame without a whole IP header", frame(SYN_TO_WEB)[:30], "passed_too_short"),
    Refused("an Ethernet header alone", frame(b""), "passed_too_short"),
    Refused("an IP packet longer than its frame", frame(SYN_TO_WEB)[:-4], "passed_too_short"),
    Refused("a TCP header cut off", frame(packets.ip(CLIENT, VIP, 6, bytes(12))), "passed_too_short"),
    Refused("a UDP header cut off", frame(packets.ip(CLIENT, VIP, 17, bytes(4))), "passed_too_short"),
    Refused("ARP", of_type(0x0806), "passed_arp"),
    Refused("a VLAN tag", of_type(0x8100), "passed_vlan"),
    Refused("a provider's VLAN tag", of_type(0x88A8), "passed_vlan"),
    Refused("IPv6", of_type(0x86DD), "passed_ipv6"),
    Refused("LLDP", of_type(0x88CC), "passed_not_ipv4"),
    Refused("IPv4 by type, another version inside", frame(b"\x65" + SYN_TO_WEB[1:]), "passed_not_ipv4"),
    Refused("IP options", frame(packets.ip(CLIENT, VIP, 6, bytes(20), options=b"\1" * 4)), "passed_ip_options"),
    Refused("a header length below the least", frame(b"\x44" + SYN_TO_WEB[1:]), "passed_ip_options"),
    Refused("a first fragment", frame(packets.ip(CLIENT, VIP, 17, bytes(64), fragment=0x2000)), "passed_fragment"),
    Refused("a later fragment", frame(packets.ip(CLIENT, VIP, 17, bytes(64), fragment=0x0008)), "passed_fragment"),
    Refused("GRE", frame(packets.ip(CLIENT, VIP, 47, bytes(64))), "passed_not_tcp_udp"),
    Refused("ping", frame(packets.ip(CLIENT, VIP, 1, b"\x08\0" + bytes(62))), "passed_icmp"),
    Refused("a port without service", frame(packets.tcp(to_vip(82), SYN)), "passed_no_service"),
    Refused("UDP to a TCP service's port", frame(packets.udp(to_vip(80))), "passed_no_service"),
    Refused("another address", frame(packets.tcp(to_vip().reversed(), SYN)), "passed_no_service"),
    Refused("a service without backends", frame(packets.tcp(to_vip(81), SYN)), "refused_no_backend"),
    Refused(
        "an ICMP error about a flow of somebody else",
        frame(packets.icmp_error("192.0.2.1", packets.tcp(to_vip())[:28])),
        "passed_icmp",
    ),
    Refused(
        "a packet that would not fit and may not be told",
        frame(packets.udp(to_vip(53), payload=bytes(1460))),
        "dropped_too_big",
        XDP_DROP,
    ),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def driver(bench: Bench) -> Iterator[XdpDataPlane]:
    driver = bench.driver()
    bench.enforce(driver, WEB, DNS, EMPTY)
    yield driver
    driver.close()


def chosen(bench: Bench, driver: XdpDataPlane, packet: bytes) -> IPAddress:
    """The backend that a packet is sent to."""
    verdict, left = bench.send(driver, frame(packet))
    assert verdict == XDP_REDIRECT
    return packets.read(left[14:]).destination


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.sentence)
def test_what_is_not_balanced_is_counted_by_name(bench: Bench, driver: XdpDataPlane, case: Refused) -> None:
    """Every frame that is no packet of a service passes or drops on purpose, unchanged, with one named counter."""
    verdict, left, moved = bench.run(driver, case.frame)
    assert (verdict, moved) == (case.verdict, {case.counter: 1})
    assert left == case.frame


def test_a_packet_is_sent_through_the_tunnel(bench: Bench, driver: XdpDataPlane) -> None:
    """The frame goes to the next hop's MAC, and the inner packet arrives whole behind a right outer header."""
    inner = packets.ip(CLIENT, VIP, 6, packets.tcp(to_vip(), SYN)[20:], tos=0xB9)
    verdict, left, moved = bench.run(driver, frame(inner))
    assert (verdict, moved) == (XDP_REDIRECT, {"forwarded": 1})
    assert left[:6] == bytes.fromhex(ROUTER_MAC.replace(":", ""))
    outer = packets.read(left[14:], whole=False)
    assert (outer.protocol, outer.tos, left[14 + 8]) == (4, 0xB9, 64)
    assert outer.source in TUNNEL_SOURCE
    assert outer.destination in {each.address for each in WEB.backends}
    assert outer.payload == inner
    assert struct.unpack_from("!H", left, 14 + 6) == (0x4000,)


def test_the_padding_of_a_short_frame_is_no_part_of_the_packet(bench: Bench, driver: XdpDataPlane) -> None:
    """Ethernet pads short frames: the outer length tells where the packet ends."""
    inner = packets.tcp(to_vip(), ACK, payload=b"")
    _, left, _ = bench.run(driver, frame(inner) + bytes(6))
    assert struct.unpack_from("!H", left, 14 + 2) == (20 + len(inner),)


def test_flows_vary_the_tunnel_source(bench: Bench, driver: XdpDataPlane) -> None:
    """Routers and network cards behind the node spread the tunnels by their outer source."""
    lefts = [bench.send(driver, frame(packets.tcp(to_vip(client_port=1000 + n), SYN)))[1] for n in range(20)]
    assert len({left[14 + 12 : 14 + 16] for left in lefts}) == 20


def test_every_node_chooses_alike(bench: Bench, driver: XdpDataPlane, tmp_path: Path) -> None:
    """Another node, told the same backends in another order, sends every flow to the same backend."""
    flows = [packets.tcp(to_vip(client_port=1000 + n), ACK) for n in range(40)]
    here = [chosen(bench, driver, flow) for flow in flows]
    with Bench(tmp_path) as other:
        there = other.driver()
        other.enforce(there, service(backend(9), port=8080), service(*reversed(WEB.backends)))
        assert [chosen(other, there, flow) for flow in flows] == here
    assert len(set(here)) == 3


def test_weights_are_respected(bench: Bench, driver: XdpDataPlane) -> None:
    """A backend of weight 0 gets no new connection, one of weight 3 about three times as many as one of weight 1."""
    bench.enforce(driver, service(backend(1, 3), backend(2, 1), backend(3, 0), port=85))
    flows = [packets.tcp(to_vip(85, 1000 + n), SYN) for n in range(200)]
    share = Counter(chosen(bench, driver, flow) for flow in flows)
    assert set(share) == {backend(1).address, backend(2).address}
    assert 120 < share[backend(1).address] < 180


@pytest.mark.parametrize(("hash_source_port", "expected"), [(False, 1), (True, 3)])
def test_source_hash(bench: Bench, driver: XdpDataPlane, hash_source_port: bool, expected: int) -> None:
    """Without the source port all connections of a client go to one backend, with it they are spread."""
    changed = service(*WEB.backends, strategy=Strategy.SOURCE_HASH, hash_source_port=hash_source_port, port=86)
    bench.enforce(driver, changed)
    found = {chosen(bench, driver, packets.tcp(to_vip(86, 1000 + n), SYN)) for n in range(40)}
    assert len(found) == expected


def round_robin(*weights: int, port: int = 87) -> VirtualService:
    """A round robin service with a backend for each weight."""
    backends = (backend(number, weight) for number, weight in enumerate(weights, start=1))
    return service(*backends, strategy=Strategy.ROUND_ROBIN, port=port)


def test_round_robin_takes_turns(bench: Bench, driver: XdpDataPlane) -> None:
    """New connections go to the backends in turns, by weight; a connection's packets stay with its backend."""
    bench.enforce(driver, round_robin(2, 1, 1))
    ports = range(1000, 1040)
    first = [chosen(bench, driver, packets.tcp(to_vip(87, port), SYN)) for port in ports]
    assert Counter(first) == {backend(1).address: 20, backend(2).address: 10, backend(3).address: 10}
    assert [chosen(bench, driver, packets.tcp(to_vip(87, port), ACK)) for port in ports] == first
    assert [chosen(bench, driver, packets.tcp(to_vip(87, port), SYN)) for port in ports] == first


def test_round_robin_keeps_connections_when_backends_change(bench: Bench, driver: XdpDataPlane) -> None:
    """Connections stay where they are when a backend comes, and those of a backend that leaves move on."""
    bench.enforce(driver, round_robin(1, 1, port=88))
    ports = range(1000, 1020)
    first = [chosen(bench, driver, packets.tcp(to_vip(88, port), SYN)) for port in ports]
    bench.enforce(driver, round_robin(1, 1, 1, port=88))
    assert [chosen(bench, driver, packets.tcp(to_vip(88, port), ACK)) for port in ports] == first
    bench.enforce(driver, round_robin(1, port=88))
    assert {chosen(bench, driver, packets.tcp(to_vip(88, port), ACK)) for port in ports} == {backend(1).address}


def test_an_icmp_error_goes_to_the_backend_of_its_flow(bench: Bench, driver: XdpDataPlane) -> None:
    """A router that says "fragmentation needed" or "time exceeded" to the VIP is heard by the right backend."""
    for number in range(10):
        flow = to_vip(client_port=1000 + number)
        quote = packets.tcp(flow.reversed())[:28]
        for kind in (3, 11):
            error = packets.icmp_error("192.0.2.1", quote, kind=kind)
            verdict, left, moved = bench.run(driver, frame(error))
            assert (verdict, moved) == (XDP_REDIRECT, {"icmp_forwarded": 1})
            assert packets.read(left[14:]).destination == chosen(bench, driver, packets.tcp(flow))
            assert left[OUTER:] == error


def test_too_big_is_answered(bench: Bench, driver: XdpDataPlane) -> None:
    """A packet that would not fit the tunnel is answered with the size that fits, quoting the flow."""
    big = dont_fragment(packets.tcp(to_vip(), payload=bytes(1460)))
    verdict, left, moved = bench.run(driver, frame(big))
    assert (verdict, moved) == (XDP_REDIRECT, {"too_big_answered": 1})
    assert left[:12] == frame(b"")[6:12] + frame(b"")[:6]
    answer = packets.read(left[14:])
    assert (answer.source, answer.destination) == (VIP, CLIENT)
    assert answer.payload[:2] == bytes([3, 4])
    assert struct.unpack_from("!H", answer.payload, 6) == (1480,)
    assert answer.quote.ends == to_vip()


def test_an_unknown_next_hop_is_counted(bench: Bench, driver: XdpDataPlane) -> None:
    """A backend no route leads to drops its packets under a name of its own."""
    unreachable = service(backend(1).__class__(address=IPv4Address("192.0.2.99"), weight=1, target_port=80), port=89)
    bench.enforce(driver, unreachable)
    verdict, _, moved = bench.run(driver, frame(packets.tcp(to_vip(89), SYN)))
    assert (verdict, moved) == (XDP_DROP, {"dropped_no_neighbour": 1})


def test_traffic_is_counted_by_service_and_backend(bench: Bench, driver: XdpDataPlane) -> None:
    """Packets and bytes of the inner packets, and a service that comes anew starts at nothing."""
    bench.enforce(driver, service(backend(1), port=90))
    packet = packets.tcp(to_vip(90), ACK)
    for _ in range(3):
        chosen(bench, driver, packet)
    (found,) = bench.observe(driver).services
    assert (found.traffic.packets, found.traffic.bytes) == (3, 3 * len(packet))
    assert found.backends[0].traffic == found.traffic
    bench.enforce(driver)
    bench.enforce(driver, service(backend(1), port=91))
    (found,) = bench.observe(driver).services
    assert found.traffic.packets == found.backends[0].traffic.packets == 0


def test_flows_stay_over_many_changes(bench: Bench, driver: XdpDataPlane) -> None:
    """Backends drain, come back and change weights, again and again: each flow stays with the backend it began at."""
    flows: dict[int, IPAddress] = {}
    random = Random(1)
    for number in range(8):
        weights = [random.choice((0, 1, 1, 5)) for _ in range(3)]
        backends = (backend(last, weight) for last, weight in enumerate([1, *weights], start=1))
        bench.enforce(driver, service(*backends, port=92))
        for port in range(1000 + 20 * number, 1020 + 20 * number):
            flows[port] = chosen(bench, driver, packets.tcp(to_vip(92, port), SYN))
        # Some flows are silent through several changes: nobody has remembered them since.
        for port in random.sample(sorted(flows), len(flows) // 2):
            assert chosen(bench, driver, packets.tcp(to_vip(92, port), ACK)) == flows[port]
    assert {port: chosen(bench, driver, packets.tcp(to_vip(92, port), ACK)) for port in flows} == flows
    assert len(set(flows.values())) == 4


def test_datagram_flows_stay_until_their_time_is_up(bench: Bench, driver: XdpDataPlane) -> None:
    """UDP has no SYN: while flows may live unseen, all go to the old owner; after that, unknown ones are new."""
    dns = service(backend(1), backend(2, 0), port=54, protocol=Protocol.UDP)
    moved = service(backend(1, 0), backend(2), port=54, protocol=Protocol.UDP)
    bench.enforce(driver, dns)
    bench.enforce(driver, moved)
    known, unknown = range(1000, 1010), range(2000, 2010)
    assert {chosen(bench, driver, packets.udp(to_vip(54, port))) for port in known} == {backend(1).address}
    driver.close()
    impatient = bench.driver(idle=IdleTimes(udp=0.0))
    bench.enforce(impatient, moved)
    assert {chosen(bench, impatient, packets.udp(to_vip(54, port))) for port in unknown} == {backend(2).address}
    impatient.close()


def test_slots_become_clean_once_their_flows_are_silent(bench: Bench, driver: XdpDataPlane) -> None:
    """A pass after the idle time ends the history of a change, and with it the cost of looking flows up."""
    driver.close()
    impatient = bench.driver(idle=IdleTimes(tcp=0.0))
    bench.enforce(impatient, service(backend(1), port=93))
    bench.enforce(impatient, service(backend(1, 0), backend(2), port=93))
    assert impatient.dirty_slots() == 0
    assert chosen(bench, impatient, packets.tcp(to_vip(93), ACK)) == backend(2).address
    impatient.close()


def test_more_services_than_fit_are_refused(bench: Bench, driver: XdpDataPlane) -> None:
    """The sentence names the setting to raise, and what was there goes on."""
    with pytest.raises(SystemFailure, match="BASCULE_MAX_SERVICES"):
        bench.enforce(driver, *(service(backend(1), port=port) for port in range(100, 109)))
    assert chosen(bench, driver, SYN_TO_WEB)
    full = tuple(service(backend(1), port=port) for port in range(100, 108))
    bench.enforce(driver, *full)
    bench.enforce(driver, *full[1:], service(backend(1), port=108))
    assert chosen(bench, driver, packets.tcp(to_vip(108), SYN)) == backend(1).address


def test_a_service_configured_twice_is_refused(bench: Bench, driver: XdpDataPlane) -> None:
    """A packet could not tell the two apart."""
    with pytest.raises(SystemFailure, match="twice"):
        bench.enforce(driver, WEB, service(backend(9)))


def test_tables_of_another_shape_are_replaced_with_a_sentence(tmp_path: Path) -> None:
    """After a change of sizes the data plane starts over, says so once, and forwards."""
    with Bench(tmp_path) as bench:
        driver = bench.driver()
        bench.enforce(driver, WEB)
        driver.close()
        (bench.bpf_dir / "layout-0-1").mkdir()
        successor = bench.driver(max_services=16)
        sentences = bench.enforce(successor, WEB)
        assert any("another version" in sentence for sentence in sentences)
        assert any("did not fit" in sentence for sentence in sentences)
        assert bench.enforce(successor, WEB) == ()
        assert chosen(bench, successor, SYN_TO_WEB)


def test_a_removed_backend_gives_its_index_back(bench: Bench, driver: XdpDataPlane) -> None:
    """Backends may come and go for ever: indexes are used again once no flow can name them."""
    for number in range(1, 8):
        many = [backend(1 + (number * 100 + last) % 250) for last in range(100)]
        bench.enforce(driver, service(*many, port=94))
        bench.enforce(driver, service(*many, port=94))
        bench.enforce(driver, service(*many, port=94))
    assert chosen(bench, driver, packets.tcp(to_vip(94), SYN)) in {each.address for each in many}
