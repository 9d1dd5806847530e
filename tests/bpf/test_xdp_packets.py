"""The XDP balancer on single packets: packet in, verdict, packet out (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from random import Random

import pytest

from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.dataplanes.xdp.tables import IdleTimes
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualService
from tests.bpf import packets
from tests.bpf.balancer_bench import (
    FAMILIES,
    ROUTER_MAC,
    V4,
    V6,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    Bench,
    Family,
    reason_to_skip,
)
from tests.bpf.packets import SYN

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture(params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture
def driver(bench: Bench, family: Family) -> Iterator[XdpDataPlane]:
    driver = bench.driver()
    bench.enforce(driver, *family.services())
    yield driver
    driver.close()


def chosen(bench: Bench, driver: XdpDataPlane, packet: bytes, tunnel: Family | None = None) -> IPAddress:
    """The backend that a packet is sent to, through a tunnel of the packet's family unless told otherwise."""
    family = V6 if packet[0] >> 4 == 6 else V4
    verdict, left = bench.send(driver, packets.frame(packet))
    assert verdict == XDP_REDIRECT
    destination = packets.read(left[14:]).destination
    assert destination.version == (tunnel or family).version
    return destination


@pytest.mark.parametrize("tunnel", FAMILIES, ids=lambda tunnel: f"in-{tunnel}")
def test_a_packet_is_sent_through_the_tunnel(
    bench: Bench, driver: XdpDataPlane, family: Family, tunnel: Family
) -> None:
    """The frame goes to the next hop's MAC, and the inner packet arrives whole behind a right outer header."""
    bench.enforce(driver, family.service(tunnel.backend(1), tunnel.backend(2), port=84))
    inner = packets.ip(family.client, family.vip, 6, family.tcp(84, flags=SYN)[family.overhead :], tos=0xB9)
    verdict, left, moved = bench.run(driver, packets.frame(inner))
    assert (verdict, moved) == (XDP_REDIRECT, {"forwarded": 1})
    assert left[:6] == bytes.fromhex(ROUTER_MAC.replace(":", ""))
    assert left[12:14] == packets.frame(b"", version=tunnel.version)[12:14]
    outer = packets.read(left[14:])
    assert (outer.protocol, outer.tos) == (family.protocol, 0xB9)
    assert outer.source in tunnel.tunnel_source
    assert outer.destination in {tunnel.backend(1).address, tunnel.backend(2).address}
    assert outer.payload == inner


def test_the_outer_header_lives_for_64_hops_and_is_not_fragmented(bench: Bench, driver: XdpDataPlane) -> None:
    """Routers on the way may not cut what nobody would put together again; IPv6 routers never do."""
    bench.enforce(driver, *V4.services(), *V6.services())
    _, left = bench.send(driver, packets.frame(V4.tcp()))
    assert (left[14 + 8], left[14 + 6 : 14 + 8]) == (64, b"\x40\0")
    _, left = bench.send(driver, packets.frame(V6.tcp()))
    outer = packets.read(left[14:])
    assert (outer.source.version, outer.hop_limit) == (6, 64)


def test_the_padding_of_a_short_frame_is_no_part_of_the_packet(
    bench: Bench, driver: XdpDataPlane, family: Family
) -> None:
    """Ethernet pads short frames: the outer length tells where the packet ends."""
    inner = family.tcp(payload=b"")
    _, left, _ = bench.run(driver, packets.frame(inner) + bytes(6))
    assert packets.read(left[14:-6]).payload == inner
    assert left[-6:] == bytes(6)


def test_flows_vary_the_tunnel_source(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """Routers and network cards behind the node spread the tunnels by their outer source, and by IPv6's flow label."""
    sent = [bench.send(driver, packets.frame(family.tcp(client_port=1000 + n))) for n in range(20)]
    outers = [packets.read(left[14:]) for _, left in sent]
    assert len({outer.source for outer in outers}) == 20
    if family is V6:
        assert len({outer.label for outer in outers}) == 20


def test_clients_of_one_network_are_spread(bench: Bench, driver: XdpDataPlane) -> None:
    """Every bit of an IPv6 client's address counts, though its port is the same."""
    bench.enforce(driver, *V6.services())
    ends = [replace(V6.to_vip(), source=V6.client + (1 << bit)) for bit in range(120)]
    found = Counter(chosen(bench, driver, packets.tcp(each)) for each in ends)
    assert len(found) == 3
    assert min(found.values()) > 20


def test_every_node_chooses_alike(bench: Bench, driver: XdpDataPlane, family: Family, tmp_path: Path) -> None:
    """Another node, told the same backends in another order, sends every flow to the same backend."""
    flows = [family.tcp(client_port=1000 + n) for n in range(40)]
    here = [chosen(bench, driver, flow) for flow in flows]
    with Bench(tmp_path) as other:
        there = other.driver()
        web = family.service(*reversed(family.services()[0].backends))
        other.enforce(there, family.service(family.backend(9), port=8080), web)
        assert [chosen(other, there, flow) for flow in flows] == here
    assert len(set(here)) == 3


def test_weights_are_respected(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """A backend of weight 0 gets no new connection, one of weight 3 about three times as many as one of weight 1."""
    bench.enforce(driver, family.service(family.backend(1, 3), family.backend(2, 1), family.backend(3, 0), port=85))
    flows = [family.tcp(85, 1000 + n, flags=SYN) for n in range(200)]
    share = Counter(chosen(bench, driver, flow) for flow in flows)
    assert set(share) == {family.backend(1).address, family.backend(2).address}
    assert 120 < share[family.backend(1).address] < 180


@pytest.mark.parametrize(("hash_source_port", "expected"), [(False, 1), (True, 3)])
def test_source_hash(bench: Bench, driver: XdpDataPlane, family: Family, hash_source_port: bool, expected: int) -> None:
    """Without the source port all connections of a client go to one backend, with it they are spread."""
    changed = family.service(
        *family.services()[0].backends, strategy=Strategy.SOURCE_HASH, hash_source_port=hash_source_port, port=86
    )
    bench.enforce(driver, changed)
    found = {chosen(bench, driver, family.tcp(86, 1000 + n, flags=SYN)) for n in range(40)}
    assert len(found) == expected


def round_robin(family: Family, *weights: int, port: int = 87) -> VirtualService:
    """A round robin service with a backend for each weight."""
    backends = (family.backend(number, weight) for number, weight in enumerate(weights, start=1))
    return family.service(*backends, strategy=Strategy.ROUND_ROBIN, port=port)


def test_round_robin_takes_turns(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """New connections go to the backends in turns, by weight; a connection's packets stay with its backend."""
    bench.enforce(driver, round_robin(family, 2, 1, 1))
    ports = range(1000, 1040)
    first = [chosen(bench, driver, family.tcp(87, port, flags=SYN)) for port in ports]
    assert Counter(first) == {
        family.backend(1).address: 20,
        family.backend(2).address: 10,
        family.backend(3).address: 10,
    }
    assert [chosen(bench, driver, family.tcp(87, port)) for port in ports] == first
    assert [chosen(bench, driver, family.tcp(87, port, flags=SYN)) for port in ports] == first


def test_round_robin_keeps_connections_when_backends_change(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """Connections stay where they are when a backend comes, and those of a backend that leaves move on."""
    bench.enforce(driver, round_robin(family, 1, 1, port=88))
    ports = range(1000, 1020)
    first = [chosen(bench, driver, family.tcp(88, port, flags=SYN)) for port in ports]
    bench.enforce(driver, round_robin(family, 1, 1, 1, port=88))
    assert [chosen(bench, driver, family.tcp(88, port)) for port in ports] == first
    bench.enforce(driver, round_robin(family, 1, port=88))
    assert {chosen(bench, driver, family.tcp(88, port)) for port in ports} == {family.backend(1).address}


@pytest.mark.parametrize(("family", "kinds"), [(V4, (3, 11)), (V6, (1, 2, 3))], ids=str)
def test_an_icmp_error_goes_to_the_backend_of_its_flow(
    bench: Bench, driver: XdpDataPlane, family: Family, kinds: tuple[int, ...]
) -> None:
    """A router that says "too big", "unreachable" or "time exceeded" to the VIP is heard by the right backend."""
    for number in range(10):
        flow = family.to_vip(client_port=1000 + number)
        quote = packets.tcp(flow.reversed())[: family.overhead + 8]
        for kind in kinds:
            error = packets.icmp_error(family.backend(99).address, quote, kind=kind)
            verdict, left, moved = bench.run(driver, packets.frame(error))
            assert (verdict, moved) == (XDP_REDIRECT, {"icmp_forwarded": 1})
            outer = packets.read(left[14:])
            assert outer.destination == chosen(bench, driver, packets.tcp(flow))
            assert outer.payload == error


@pytest.mark.parametrize("tunnel", FAMILIES, ids=lambda tunnel: f"in-{tunnel}")
def test_too_big_is_answered_in_ipv4(bench: Bench, driver: XdpDataPlane, tunnel: Family) -> None:
    """A packet that would not fit the tunnel is answered with the size that fits, quoting the flow."""
    bench.enforce(driver, V4.service(tunnel.backend(1), port=83))
    big = packets.dont_fragment(V4.tcp(83, payload=bytes(1460)))
    verdict, left, moved = bench.run(driver, packets.frame(big))
    assert (verdict, moved) == (XDP_REDIRECT, {"too_big_answered": 1})
    assert left[:12] == packets.ETHERNET[6:12] + packets.ETHERNET[:6]
    answer = packets.read(left[14:])
    assert (answer.source, answer.destination) == (V4.vip, V4.client)
    assert answer.payload[:2] == bytes([3, 4])
    assert struct.unpack_from("!H", answer.payload, 6) == (1500 - tunnel.overhead,)
    assert answer.quote.ends == V4.to_vip(83)


@pytest.mark.parametrize(("mtu", "told"), [(1500, 1460), (1321, 1281), (1300, 1280)])
def test_too_big_is_answered_in_ipv6(bench: Bench, driver: XdpDataPlane, mtu: int, told: int) -> None:
    """The same with ICMPv6, which quotes all that fits 1280 bytes; of a smaller MTU it cannot tell, and drops."""
    bench.ip(f"route replace fd00:128::/64 via fd00:10::2 mtu {mtu}")
    # A driver that runs hears of the route some time after `ip` has ended; a new one asks for it.
    driver.close()
    driver = bench.driver()
    try:
        bench.enforce(driver, V6.service(V6.backend(2), port=83))
        big = V6.tcp(83, payload=bytes(range(256)) * 5 + bytes(160))
        verdict, left, moved = bench.run(driver, packets.frame(big))
        assert (verdict, moved) == (XDP_REDIRECT, {"too_big_answered": 1})
        sent = packets.frame(big)
        assert left[:14] == sent[6:12] + sent[:6] + sent[12:14]
        answer = packets.read(left[14:])
        assert (answer.source, answer.destination, answer.protocol) == (V6.vip, V6.client, 58)
        assert answer.hop_limit == 64
        assert struct.unpack_from("!BB2xI", answer.payload) == (2, 0, told)
        assert answer.payload[8:] == big[: 1280 - 48]
        if mtu - 40 < 1280:
            verdict, _, moved = bench.run(driver, packets.frame(V6.tcp(83, payload=bytes(1280 - 60))))
            assert (verdict, moved) == (XDP_DROP, {"dropped_too_big": 1})
        bench.enforce(driver)
    finally:
        bench.ip("route replace fd00:128::/64 via fd00:10::2")


def test_an_unknown_next_hop_is_counted(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """A backend no route leads to drops its packets under a name of its own."""
    nowhere = {4: "192.0.2.99", 6: "2001:db8:99::1"}[family.version]
    unreachable = replace(family.backend(1), address=ip_address(nowhere))
    bench.enforce(driver, family.service(unreachable, port=89))
    verdict, _, moved = bench.run(driver, packets.frame(family.tcp(89, flags=SYN)))
    assert (verdict, moved) == (XDP_DROP, {"dropped_no_neighbour": 1})


def test_traffic_is_counted_by_service_and_backend(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """Packets and bytes of the inner packets, and a service that comes anew starts at nothing."""
    bench.enforce(driver, family.service(family.backend(1), port=90))
    packet = family.tcp(90)
    for _ in range(3):
        chosen(bench, driver, packet)
    (found,) = bench.observe(driver).services
    assert (found.traffic.packets, found.traffic.bytes) == (3, 3 * len(packet))
    assert found.backends[0].traffic == found.traffic
    bench.enforce(driver)
    bench.enforce(driver, family.service(family.backend(1), port=91))
    (found,) = bench.observe(driver).services
    assert found.traffic.packets == found.backends[0].traffic.packets == 0


def test_flows_stay_over_many_changes(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """Backends drain, come back and change weights, again and again: each flow stays with the backend it began at."""
    flows: dict[int, IPAddress] = {}
    random = Random(1)
    for number in range(8):
        weights = [random.choice((0, 1, 1, 5)) for _ in range(3)]
        backends = (family.backend(last, weight) for last, weight in enumerate([1, *weights], start=1))
        bench.enforce(driver, family.service(*backends, port=92))
        for port in range(1000 + 20 * number, 1020 + 20 * number):
            flows[port] = chosen(bench, driver, family.tcp(92, port, flags=SYN))
        # Some flows are silent through several changes: nobody has remembered them since.
        for port in random.sample(sorted(flows), len(flows) // 2):
            assert chosen(bench, driver, family.tcp(92, port)) == flows[port]
    assert {port: chosen(bench, driver, family.tcp(92, port)) for port in flows} == flows
    assert len(set(flows.values())) == 4


def test_datagram_flows_stay_until_their_time_is_up(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """UDP has no SYN: while flows may live unseen, all go to the old owner first; after that, unknown ones are new."""
    dns = family.service(family.backend(1), family.backend(2, 0), port=54, protocol=Protocol.UDP)
    moved = family.service(family.backend(1, 0), family.backend(2), port=54, protocol=Protocol.UDP)
    bench.enforce(driver, dns)
    bench.enforce(driver, moved)
    known, unknown = range(1000, 1010), range(2000, 2010)
    assert {chosen(bench, driver, family.udp(54, port)) for port in known} == {family.backend(1).address}
    driver.close()
    impatient = bench.driver(idle=IdleTimes(udp=0.0, moved=0.0))
    bench.enforce(impatient, moved)
    assert {chosen(bench, impatient, family.udp(54, port)) for port in unknown} == {family.backend(2).address}
    impatient.close()


def test_slots_become_clean_once_their_flows_are_silent(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """A pass after the idle time ends the history of a change, and with it the cost of looking flows up.

    Not before the time that other nodes' flows need, though.
    """
    driver.close()
    patient = bench.driver(idle=IdleTimes(tcp=0.0, moved=600.0))
    bench.enforce(patient, family.service(family.backend(1), port=93))
    bench.enforce(patient, family.service(family.backend(1, 0), family.backend(2), port=93))
    assert patient.dirty_slots() > 60000
    bench.enforce(patient)
    patient.close()
    impatient = bench.driver(idle=IdleTimes(tcp=0.0, moved=0.0))
    bench.enforce(impatient, family.service(family.backend(1), port=93))
    bench.enforce(impatient, family.service(family.backend(1, 0), family.backend(2), port=93))
    assert impatient.dirty_slots() == 0
    assert chosen(bench, impatient, family.tcp(93)) == family.backend(2).address
    impatient.close()


def test_more_services_than_fit_are_refused(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """The sentence names the setting to raise, and what was there goes on."""
    with pytest.raises(SystemFailure, match="BASCULE_MAX_SERVICES"):
        bench.enforce(driver, *(family.service(family.backend(1), port=port) for port in range(100, 109)))
    assert chosen(bench, driver, family.tcp())
    full = tuple(family.service(family.backend(1), port=port) for port in range(100, 108))
    bench.enforce(driver, *full)
    bench.enforce(driver, *full[1:], family.service(family.backend(1), port=108))
    assert chosen(bench, driver, family.tcp(108, flags=SYN)) == family.backend(1).address


def test_a_service_configured_twice_is_refused(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """A packet could not tell the two apart."""
    with pytest.raises(SystemFailure, match="twice"):
        bench.enforce(driver, *family.services(), family.service(family.backend(9)))


def test_tables_of_another_shape_are_replaced_with_a_sentence(tmp_path: Path) -> None:
    """After a change of sizes the data plane starts over, says so once, and forwards."""
    web = V4.services()[0]
    with Bench(tmp_path) as bench:
        driver = bench.driver()
        bench.enforce(driver, web)
        driver.close()
        (bench.bpf_dir / "layout-0-1").mkdir()
        successor = bench.driver(max_services=16)
        sentences = bench.enforce(successor, web)
        assert any("another version" in sentence for sentence in sentences)
        assert any("did not fit" in sentence for sentence in sentences)
        assert bench.enforce(successor, web) == ()
        assert chosen(bench, successor, V4.tcp())


def test_services_of_both_families_stand_side_by_side(bench: Bench, driver: XdpDataPlane) -> None:
    """A process takes over the tables of both, and the report names both."""
    both = (*V4.services(), *V6.services())
    bench.enforce(driver, *both)
    flows = [each.tcp(client_port=1000 + n) for each in FAMILIES for n in range(10)]
    before = [chosen(bench, driver, flow) for flow in flows]
    driver.close()
    successor = bench.driver()
    assert {found.key for found in bench.observe(successor).services} == {each.key for each in both}
    assert not any("Wrote" in sentence for sentence in bench.enforce(successor, *both))
    assert [chosen(bench, successor, flow) for flow in flows] == before
    assert bench.observe(successor).ready == {V4.vip, V6.vip}


def test_a_node_without_ipv6_carries_ipv4(tmp_path: Path) -> None:
    """A VIP that cannot be held is told of with what to do, and takes no other with it."""
    with Bench(tmp_path) as bench:
        bench.inside(lambda: Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("1"))
        driver = bench.driver()
        with pytest.raises(SystemFailure, match="disable_ipv6"):
            bench.enforce(driver, *V4.services(), *V6.services())
        assert bench.observe(driver).ready == {V4.vip}
        assert chosen(bench, driver, V4.tcp())


def test_addresses_that_look_alike_are_told_apart(bench: Bench, driver: XdpDataPlane) -> None:
    """Two VIPs with the same words in another order meet in one slot of the table of services: each keeps its own."""
    alike = packets.Ends(V6.to_vip().source, 40000, IPv6Address("2001:db8:0:10:113::"), 80)
    second = replace(V6.service(V6.backend(2)), key=ServiceKey(alike.destination, Protocol.TCP, 80))
    bench.enforce(driver, V6.service(V6.backend(1)), second)
    assert chosen(bench, driver, V6.tcp()) == V6.backend(1).address
    assert chosen(bench, driver, packets.tcp(alike)) == V6.backend(2).address
    bench.enforce(driver, second)
    assert bench.send(driver, packets.frame(V6.tcp()))[0] == XDP_PASS


def test_a_removed_backend_gives_its_index_back(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """Backends may come and go for ever: indexes are used again once no flow can name them."""
    for number in range(1, 8):
        many = [family.backend(1 + (number * 100 + last) % 250) for last in range(100)]
        bench.enforce(driver, family.service(*many, port=94))
        bench.enforce(driver, family.service(*many, port=94))
        bench.enforce(driver, family.service(*many, port=94))
    assert chosen(bench, driver, family.tcp(94, flags=SYN)) in {each.address for each in many}


def test_connections_of_a_draining_backend_are_counted(bench: Bench, family: Family) -> None:
    """Those that were seen since it drains, and seen lately; that there are none is known only after the idle time."""
    driver = bench.driver()
    both, service = [family.backend(1), family.backend(2)], partial(family.service, port=88)
    bench.enforce(driver, service(*both))
    at = [chosen(bench, driver, family.tcp(88, port)) for port in range(41000, 41040)]
    mine = at.count(family.backend(1).address)
    bench.enforce(driver, service(family.backend(1, 0), family.backend(2)))
    assert remaining(bench, driver, 88) == [None, None]
    assert [chosen(bench, driver, family.tcp(88, port)) for port in range(41000, 41040)] == at
    assert remaining(bench, driver, 88) == [mine, None]
    bench.enforce(driver, service(*both))
    assert remaining(bench, driver, 88) == [None, None]
    driver.close()
    later = bench.driver(idle=IdleTimes(tcp=0.0))
    bench.enforce(later, service(family.backend(1, 0), family.backend(2)))
    assert remaining(bench, later, 88) == [0, None]
    later.close()


def remaining(bench: Bench, driver: XdpDataPlane, port: int) -> list[int | None]:
    """What is reported of a service's backends."""
    (service,) = (each for each in bench.observe(driver).services if each.key.port == port)
    return [backend.remaining for backend in service.backends]
