"""Flows of moved slots that an LB node does not remember: packet in, packet with two headers out, and who gets it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.model.addresses import IPAddress
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import VirtualBackend, VirtualService
from tests.bpf import packets
from tests.bpf.balancer_bench import FAMILIES, V4, V6, XDP_REDIRECT, Bench, Family, reason_to_skip
from tests.bpf.hypervisor_programs import IPV4, IPV6, LET_THROUGH, Programs
from tests.bpf.hypervisor_programs import Family as Cast
from tests.bpf.packets import ETHERNET, SYN, dont_fragment

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
def driver(bench: Bench) -> Iterator[XdpDataPlane]:
    """One that remembers nothing of the tests before."""
    driver = bench.driver()
    bench.enforce(driver)
    yield driver
    driver.close()


def moved(
    bench: Bench, driver: XdpDataPlane, *owners: VirtualBackend, port: int, protocol: Protocol = Protocol.TCP
) -> None:
    """Give all slots of a service to one owner after the other, each of which lives on."""
    for current in owners:
        backends = (owner if owner is current else replace(owner, weight=0) for owner in owners)
        bench.enforce(driver, _service(*backends, port=port, protocol=protocol))


def _service(*backends: VirtualBackend, port: int, protocol: Protocol = Protocol.TCP) -> VirtualService:
    family = V4 if backends[0].address.version == 4 else V6
    return family.service(*backends, port=port, protocol=protocol)


def headers(bench: Bench, driver: XdpDataPlane, family: Family, packet: bytes) -> list[IPAddress]:
    """The destinations of a packet's tunnels, the outer one first; what is inside is asserted to be the packet."""
    verdict, left = bench.send(driver, packets.frame(packet))
    assert verdict == XDP_REDIRECT
    found, left = [], left[14:]
    while left != packet:
        outer = packets.read(left)
        assert outer.protocol == family.protocol
        assert outer.source in family.tunnel_source
        assert outer.hop_limit == 64
        found.append(outer.destination)
        left = outer.payload
    return found


def test_an_unknown_flow_goes_to_the_old_owner_and_then_to_the_new_one(
    bench: Bench, driver: XdpDataPlane, family: Family
) -> None:
    """Two right headers, counted by a name of their own; the same for its next packets and for ICMP about them."""
    first, second = family.backend(1), family.backend(2)
    moved(bench, driver, first, second, port=200)
    both = [first.address, second.address]
    error = packets.icmp_error(
        family.backend(99).address, packets.tcp(family.to_vip(200).reversed())[: family.overhead + 8]
    )

    assert headers(bench, driver, family, error) == both
    for _ in range(2):
        assert headers(bench, driver, family, family.tcp(200)) == both
    assert headers(bench, driver, family, error) == both
    assert bench.run(driver, packets.frame(family.tcp(200)))[2] == {"second_chance_given": 1}


def test_a_flow_that_this_node_saw_begin_needs_none(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """A SYN goes to the new owner alone, and so does what follows, even if its ports were guessed about before."""
    first, second = family.backend(1), family.backend(2)
    moved(bench, driver, first, second, port=201)
    headers(bench, driver, family, family.tcp(201))

    for flags in (SYN, packets.ACK):
        assert headers(bench, driver, family, family.tcp(201, flags=flags)) == [second.address]


def test_a_guess_outlives_further_changes(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """The flow is at one of the two that it was guessed to be at, whoever has the slot by now."""
    first, second, third = (family.backend(number) for number in (1, 2, 3))
    moved(bench, driver, first, second, port=202)
    headers(bench, driver, family, family.tcp(202))

    waiting = replace(first, weight=0), replace(second, weight=0), third
    bench.enforce(driver, _service(*waiting, port=202))
    assert headers(bench, driver, family, family.tcp(202)) == [first.address, second.address]
    assert headers(bench, driver, family, family.tcp(202, 40001)) == [first.address, third.address]
    bench.enforce(driver, _service(*waiting[1:], port=202))
    assert headers(bench, driver, family, family.tcp(202))[-1] == second.address


def test_what_has_no_room_for_two_headers_gets_one(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """A long packet goes to the old owner, as without a second chance; one byte less has room."""
    first, second = family.backend(1), family.backend(2)
    moved(bench, driver, first, second, port=203)
    room = 1500 - 2 * family.overhead - len(family.tcp(203, payload=b""))

    assert headers(bench, driver, family, family.tcp(203, payload=bytes(room))) == [first.address, second.address]
    assert headers(bench, driver, family, family.tcp(203, payload=bytes(room + 1))) == [first.address]


def test_a_long_datagram_is_answered_with_what_fits(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """The old owner alone would take a datagram's flow for its own: the client hears what has room for two headers."""
    moved(bench, driver, family.backend(1), family.backend(2), port=55, protocol=Protocol.UDP)
    room = 1500 - 2 * family.overhead
    for length, fate in ((room, "second_chance_given"), (room + 1, "too_big_answered")):
        datagram = family.udp(55, payload=bytes(length - len(family.udp(55, payload=b""))))
        sent = dont_fragment(datagram) if family is V4 else datagram
        _, left, counted = bench.run(driver, packets.frame(sent))
        assert counted == {fate: 1}
    assert packets.read(left[14:]).payload[4:8] == room.to_bytes(4, "big")
    if family is V4:
        assert headers(bench, driver, family, datagram) == [family.backend(1).address]


def test_tunnels_of_two_families_are_not_mixed(bench: Bench, driver: XdpDataPlane) -> None:
    """Hypervisors open tunnels of their packet's family: an owner with another one leaves no second chance."""
    bench.enforce(driver, V4.service(V4.backend(1), port=204))
    bench.enforce(driver, V4.service(V4.backend(1, 0), V6.backend(2), port=204))
    assert headers(bench, driver, V4, V4.tcp(204)) == [V4.backend(1).address]


def test_it_can_be_switched_off(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """For fleets whose hypervisors know one header only; what was guessed before goes to the old owner again."""
    first, second = family.backend(1), family.backend(2)
    moved(bench, driver, first, second, port=205)
    headers(bench, driver, family, family.tcp(205))
    driver.close()

    without = bench.driver(second_chance=False)
    bench.enforce(without, _service(replace(first, weight=0), second, port=205))
    for client_port in (40000, 40001):
        assert headers(bench, without, family, family.tcp(205, client_port)) == [first.address]
    without.close()


def test_a_datagram_may_be_either_ones(bench: Bench, driver: XdpDataPlane, family: Family) -> None:
    """UDP does not say whether a flow is new: right after a change it is found out at the old owner's hypervisor."""
    first, second = family.backend(1), family.backend(2)
    moved(bench, driver, first, second, port=54, protocol=Protocol.UDP)
    assert headers(bench, driver, family, family.udp(54)) == [first.address, second.address]


@pytest.mark.parametrize(("family", "cast"), [(V4, IPV4), (V6, IPV6)], ids=["IPv4", "IPv6"])
def test_a_connection_is_found_after_its_lb_node_died(bench: Bench, family: Family, cast: Cast) -> None:
    """From one LB node's program through the hypervisor's, then from that of a node which never heard of the flows."""
    first, second = (
        replace(family.backend(1), address=cast.instance),
        replace(family.backend(1), address=cast.neighbour),
    )
    gateway = "10.0.0.2" if family is V4 else "fd00:10::2"
    bench.ip(f"route replace {cast.instance} via {gateway}", f"route replace {cast.neighbour} via {gateway}")
    driver, hypervisor = bench.driver(), Programs()
    hypervisor.add_instance(cast, cast.neighbour)

    def arrives_at(client_port: int, flags: int = packets.ACK) -> IPAddress:
        _, left = bench.send(driver, packets.frame(family.tcp(80, client_port, flags=flags)))
        verdict, left, _ = hypervisor.uplink(left[14:])
        assert verdict == LET_THROUGH
        return packets.read(left[len(ETHERNET) :]).destination

    try:
        bench.enforce(driver, _service(first, port=80))
        assert arrives_at(1000, SYN) == cast.instance
        bench.enforce(driver, _service(replace(first, weight=0), second, port=80))
        assert arrives_at(2000, SYN) == cast.neighbour

        with driver.memory("flows") as memory:
            memory[:] = bytes(len(memory))

        for _ in range(2):
            assert arrives_at(1000) == cast.instance
            assert arrives_at(2000) == cast.neighbour
    finally:
        driver.close()
        hypervisor.close()
