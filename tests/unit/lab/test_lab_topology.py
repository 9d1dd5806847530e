"""The data centre as data."""

from __future__ import annotations

import pytest

from bascule.lab.shape import TUNNEL_SOURCE, AnnouncerName, Shape
from bascule.lab.topology import SEGMENT, VIPS, IPInterface, Role, data_centre
from bascule.model.data_planes import CAPABILITIES, DataPlaneName

SHAPES = [
    Shape(),
    Shape(ipv6=False),
    Shape(lb_nodes=3, hypervisors=4, instances_per_hypervisor=1),
    Shape(underlay_mtu=1500),
    Shape(announcer=AnnouncerName.VRRP),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_host_is_plugged_in_once(shape: Shape) -> None:
    """Every host but the router has one uplink, into a host that exists."""
    topology = data_centre(shape)
    names = {host.name for host in topology.hosts}
    assert {link.lower.host for link in topology.links} == names - {"router"}
    assert len(topology.links) == len(names) - 1
    assert {link.upper.host for link in topology.links} <= names
    assert all(topology.host(link.lower.host).uplink == link.upper.host for link in topology.links)


@pytest.mark.parametrize("shape", SHAPES)
def test_addresses_are_unique(shape: Shape) -> None:
    """No two hosts share an address, and none lies among the VIPs."""
    hosts = data_centre(shape).hosts
    assert all(tuple(host.addresses) == shape.families for host in hosts)
    addresses = [address for host in hosts for address in host.addresses.values()]
    assert len(set(addresses)) == len(addresses)
    assert not any(address in VIPS[address.version] for address in addresses)


def test_interface_names_are_unique_within_a_host() -> None:
    """No host has two interfaces of one name, and names fit the kernel's 15 letters."""
    ends = [end for link in data_centre(Shape()).links for end in (link.lower, link.upper)]
    names = [(end.host, end.interface) for end in ends]
    assert len(set(names)) == len(names)
    assert all(len(end.interface) <= 15 for end in ends)


def test_router_and_hypervisors_know_every_instance() -> None:
    """The router routes each instance to its hypervisor, which routes it to the instance's own link."""
    topology = data_centre(Shape())
    routes = {route.destination.network_address: route for route in topology.host("router").routes}
    for instance in topology.of_role(Role.INSTANCE):
        hypervisor = topology.host(instance.uplink)
        for family, address in instance.addresses.items():
            assert routes[address].gateway == hypervisor.addresses[family]
        assert instance.name in {route.interface for route in hypervisor.routes}


def test_only_the_underlay_is_wider() -> None:
    """Links that carry tunnels have the underlay's MTU, client and instances the usual 1500."""
    mtus = {link.lower.host: link.mtu for link in data_centre(Shape(underlay_mtu=1600)).links}
    assert {mtus[name] for name in ("lb1", "lb2", "hv1", "hv2")} == {1600}
    assert {mtus[name] for name in ("client", "vm1", "vm4")} == {1500}


@pytest.mark.parametrize("dataplane", DataPlaneName)
def test_ipvs_finds_its_outer_source_by_a_route(dataplane: DataPlaneName) -> None:
    """Only LB nodes whose kernel tunnels share a source, by a route that nothing with a protocol takes."""
    topology = data_centre(Shape(dataplane=dataplane))
    for node in topology.of_role(Role.LB_NODE):
        sources = [route.source for route in node.routes if route.source]
        assert [address.ip for address in node.own] == sources
        assert all(source in TUNNEL_SOURCE for source in sources)
        assert bool(sources) is (dataplane is not DataPlaneName.XDP)
        ordered = sorted(node.rules, key=lambda rule: rule.priority)
        assert [rule.protocol for rule in ordered] == ([1, 6, 17, 0] if sources else [])


def test_the_client_has_many_addresses() -> None:
    """The client speaks from as many addresses as asked for, starting with its host address."""
    topology = data_centre(Shape(client_addresses=5))
    for family, first in topology.host("client").addresses.items():
        assert len(set(topology.client_addresses(family))) == 5
        assert topology.client_addresses(family)[0] == first


@pytest.mark.parametrize("dataplane", DataPlaneName)
def test_families_are_those_of_the_data_plane(dataplane: DataPlaneName) -> None:
    """A lab speaks what its data plane carries, unless IPv6 is not wanted; only then has a host an IPv6 address."""
    shape = Shape(dataplane=dataplane)
    assert frozenset(shape.families) == CAPABILITIES[dataplane].families
    alone = Shape(dataplane=dataplane, ipv6=False)
    assert alone.families == (4,)
    assert {network.version for network in alone.tunnel_sources} == {4}
    assert {network.version for network in shape.tunnel_sources} == set(shape.families)


def test_ipvs_tunnels_over_ipv6_are_accepted() -> None:
    """IPVS's IPv6 tunnels leave with an LB node's own address: hypervisors accept that, and no other forwarder's."""
    shape = Shape(dataplane=DataPlaneName.IPVS)
    topology = data_centre(shape)
    _, accepted = shape.tunnel_sources
    assert all(node.addresses[6] in accepted for node in topology.of_role(Role.LB_NODE))
    for role in (Role.CLIENT, Role.ROUTER, Role.HYPERVISOR, Role.INSTANCE):
        assert not any(host.addresses[6] in accepted for host in topology.of_role(role))


def test_with_vrrp_all_lb_nodes_are_on_one_segment() -> None:
    """Their cables end in a bridge of the router, which is their gateway and looks for VIPs there."""
    topology = data_centre(Shape(announcer=AnnouncerName.VRRP))
    router = topology.host("router")
    ends = [link.upper for link in topology.links if topology.host(link.lower.host).role is Role.LB_NODE]
    assert {(end.bridge, end.addresses) for end in ends} == {(SEGMENT, ())}
    gateways: dict[int, IPInterface] = {each.version: each for each in router.bridges[SEGMENT]}
    for node in topology.of_role(Role.LB_NODE):
        assert all(address in gateways[family].network for family, address in node.addresses.items())
        assert {route.gateway for route in node.routes} == {each.ip for each in gateways.values()}
    assert {route.destination for route in router.routes if route.interface == SEGMENT} == set(VIPS.values())
