"""Backends that are the LB node itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.locality import with_local
from bascule.agents.lb_node.serving import Desired, check_carried, desire
from bascule.announcers.fake import FakeAnnouncer
from bascule.dataplanes.fake import FakeDataPlane
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.addresses import IPAddress
from bascule.model.configurations import Backend, BalancerConfiguration
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.errors import Conflict, SystemFailure
from bascule.model.health_checks import Health
from bascule.model.strategies import Strategy
from bascule.model.virtual_services import ForwardingMethod
from bascule.system.own_addresses import own_addresses
from tests.unit.agents.builders import VIP, backend, balancer, service

HERE, THERE = backend(1), backend(2)
XDP, IPVS = CAPABILITIES[DataPlaneName.XDP], CAPABILITIES[DataPlaneName.IPVS]


def configuration(*backends: Backend, port: int = 8080) -> BalancerConfiguration:
    """A load balancer on `port`, whose instances listen on 8080."""
    return balancer(service(*backends, port=port))


def desired(carried: BalancerConfiguration) -> Desired:
    """What the node should do while every instance is healthy."""
    healthy = Verdict(health=Health.SUCCESS)
    verdicts = {TargetKey(one.id, each.instance_id): healthy for one in carried.services for each in one.backends}
    return desire([carried], verdicts, frozenset())


def methods(found: Desired) -> dict[IPAddress, ForwardingMethod]:
    """How each backend is reached."""
    return {each.address: each.method for one in found.services for each in one.backends}


def own(*backends: Backend) -> frozenset[IPAddress]:
    """The node's own addresses."""
    return frozenset(each.address for each in backends)


def test_each_of_a_pair_of_servers_serves_itself_locally_and_the_other_by_the_network() -> None:
    """The same configuration on both: what is local differs."""
    wanted = desired(configuration(HERE, THERE))
    one = with_local(wanted, own(HERE), IPVS)
    other = with_local(wanted, own(THERE), IPVS)
    assert methods(one) == {HERE.address: ForwardingMethod.LOCAL, THERE.address: ForwardingMethod.TUNNEL}
    assert methods(other) == {HERE.address: ForwardingMethod.TUNNEL, THERE.address: ForwardingMethod.LOCAL}


def test_what_is_reached_directly_becomes_local_and_what_is_translated_stays() -> None:
    """Translation reaches own processes too, whatever port and address they listen on."""
    direct = replace(HERE, method=ForwardingMethod.DIRECT)
    translated = replace(THERE, method=ForwardingMethod.TRANSLATION)
    found = with_local(desired(configuration(direct, translated)), own(HERE, THERE), IPVS)
    assert methods(found) == {HERE.address: ForwardingMethod.LOCAL, THERE.address: ForwardingMethod.TRANSLATION}


def test_a_data_plane_without_the_method_is_given_none() -> None:
    """XDP tunnels to whom it tunnelled before."""
    wanted = desired(configuration(HERE))
    assert with_local(wanted, own(HERE), XDP) == wanted


def test_a_vip_is_nobody_s_own_address() -> None:
    """It is bound on every LB node; only the machine's own addresses tell the machine."""
    at_vip = replace(HERE, address=VIP)
    found = with_local(desired(configuration(at_vip)), frozenset({VIP}), IPVS)
    assert methods(found) == {VIP: ForwardingMethod.TUNNEL}


def test_a_port_that_no_hypervisor_translates_is_translated_by_the_node() -> None:
    """The packet would arrive at a port where nobody listens."""
    found = with_local(desired(configuration(HERE, THERE, port=80)), own(HERE), IPVS)
    assert methods(found) == {HERE.address: ForwardingMethod.TRANSLATION, THERE.address: ForwardingMethod.TUNNEL}


def test_a_pass_asks_the_kernel_for_the_addresses() -> None:
    """The data plane gets `local`; while the kernel does not tell, what was local stays so, and the problem is told."""
    plane, known = FakeDataPlane(), True

    def ask() -> frozenset[IPAddress]:
        if not known:
            raise SystemFailure("No answer.")
        return own(HERE)

    enforcement = Enforcement(plane, FakeAnnouncer(), ask)
    for known in (True, False):
        outcome = enforcement.apply(desired(configuration(HERE, THERE)))
        (served,) = plane.services.values()
        assert {each.address: each.method for each in served.backends}[HERE.address] is ForwardingMethod.LOCAL
        assert bool(outcome.problems) != known


def test_the_kernel_tells_no_loopback_address() -> None:
    """Every machine has 127.0.0.1: an instance there would be everybody's own."""
    assert not own_addresses() & {IPv4Address("127.0.0.1"), ip_address("::1")}


def test_a_sorry_server_is_reached_by_its_method() -> None:
    """While no instance is healthy it serves alone, as the control plane said."""
    sorry = IPv4Address("10.0.0.9")
    one = service(HERE)
    one = replace(
        one,
        sorry_method=ForwardingMethod.TRANSLATION,
        health_check=replace(one.health_check, sorry_server=sorry),
    )
    found = desire([balancer(one)], {}, frozenset(), {one.id: False})
    assert methods(found) == {sorry: ForwardingMethod.TRANSLATION}


def test_a_command_for_another_data_plane_is_refused_before_it_counts() -> None:
    """Enforced, it would fail the pass, and with it every load balancer of the node."""
    carried = balancer(replace(service(HERE), strategy=Strategy.NEVER_QUEUE))
    check_carried(carried, "ipvs", IPVS)
    with pytest.raises(Conflict, match="data plane xdp has no strategy nq"):
        check_carried(carried, "xdp", XDP)
