"""The data centre as data: hosts, links, addresses and routes. Pure; `network` builds what this says.

    client 198.51.100.11-26 ── router ── lb1, lb2        (announce VIPs of 203.0.113.16/28 and 2001:db8:203::10/124)
           2001:db8:198::11    ├────── hv1 ── vm1, vm2
                               ├────── hv2 ── vm3, vm4
                               └────── control

Every host has an address of each family that the lab speaks; the agents and the control plane talk over IPv4. Every lab
has the same addresses inside; only the names of its namespaces differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import TypeAlias

from bascule.lab.shape import AnnouncerName, Shape
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.data_planes import DataPlaneName

IPInterface: TypeAlias = IPv4Interface | IPv6Interface

VIPS: Mapping[int, IPNetwork] = {4: IPv4Network("203.0.113.16/28"), 6: IPv6Network("2001:db8:203::10/124")}
INSTANCE_PORT = 8080
AGENT_PORT = 7701
ROUTER_AS = 65000
LB_AS = 65001
CLIENT_MTU = 1500
UPLINK = "eth0"
SEGMENT = "lan"
# The outer source of IPVS's tunnels, which it takes from a route; the LB nodes share it. XDP writes its own ones.
_SHARED_SOURCE = IPv4Interface("10.99.0.1/32")
_INSTANCES = IPv4Network("10.128.0.0/16")
_TUNNELS = 100
_ANYWHERE: Mapping[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_CLIENTS = {4: "198.51.100.{}/24", 6: "2001:db8:198::{}/64"}
_UNDERLAY = {4: "10.0.{subnet}.{}/30", 6: "fd00:10:0:{subnet}::{}/64"}
# With VRRP all LB nodes are on one segment, and the router looks for VIPs there.
_ON_SEGMENT = {4: "10.0.1.{}/24", 6: "fd00:10:0:1::{}/64"}
# Instances are routed one by one and reach the world through these addresses, which every hypervisor answers for.
_INSTANCE = {4: "10.128.{}.{}/32", 6: "fd00:128:{}::{}/128"}
_INSTANCE_GATEWAY: Mapping[int, IPInterface] = {4: IPv4Interface("169.254.1.1/32"), 6: IPv6Interface("fe80::1/64")}


class Role(StrEnum):
    """What a host is there for."""

    CLIENT = "client"
    ROUTER = "router"
    CONTROL = "control"
    LB_NODE = "lb node"
    HYPERVISOR = "hypervisor"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of one host; `on_link` trusts that the gateway is there although no address says so.

    `source` is the address that packets begin with which have none yet; `table` is 254 for the main one.
    """

    destination: IPNetwork = _ANYWHERE[4]
    gateway: IPAddress | None = None
    interface: str = UPLINK
    on_link: bool = False
    source: IPAddress | None = None
    table: int = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which packets look up their route in which table, by protocol (0 is any) and destination. The least is first."""

    priority: int
    table: int
    protocol: int = 0
    destination: IPNetwork = _ANYWHERE[4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One namespace. `uplink` is the host its eth0 is plugged into; `own` are addresses of no link.

    `addresses` has one of each family. `bridges` are segments that it has an address on, and others' cables end in.
    """

    name: str
    role: Role
    addresses: Mapping[int, IPAddress]
    uplink: str = ""
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    own: tuple[IPInterface, ...] = ()
    bridges: Mapping[str, tuple[IPInterface, ...]] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> IPAddress:
        """The one of IPv4, which every host has."""
        return self.addresses[4]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a link. `receive_offload` is GRO, which XDP on the other end needs to send anything back.

    What is plugged into a `bridge` of its host has no address.
    """

    host: str
    interface: str
    addresses: tuple[IPInterface, ...] = ()
    bridge: str = ""
    receive_offload: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cable between two hosts."""

    lower: End
    upper: End
    mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole data centre."""

    hosts: tuple[Host, ...]
    links: tuple[Link, ...]

    def of_role(self, role: Role) -> tuple[Host, ...]:
        """The hosts of one kind, in order."""
        return tuple(host for host in self.hosts if host.role is role)

    def host(self, name: str) -> Host:
        """One host; KeyError when there is none of that name."""
        return {host.name: host for host in self.hosts}[name]

    def client_addresses(self, family: int) -> tuple[IPAddress, ...]:
        """Every address of one family that the client host can speak from."""
        return tuple(each.ip for each in self.links[0].lower.addresses if each.version == family)


def data_centre(shape: Shape) -> Topology:
    """Lay out the data centre."""
    pairs = [_client(shape), _node("control", Role.CONTROL, 0, shape)]
    pairs += [_node(f"lb{n}", Role.LB_NODE, n, shape) for n in range(1, shape.lb_nodes + 1)]
    router = _router(shape)
    for group in range(1, shape.hypervisors + 1):
        instances = [_instance(group, n, shape) for n in range(1, shape.instances_per_hypervisor + 1)]
        hypervisor, link = _node(f"hv{group}", Role.HYPERVISOR, 100 + group, shape)
        router = _with_routes_to(router, instances, gateway=hypervisor)
        pairs += [(_with_routes_to(hypervisor, instances), link), *instances]
    return Topology(hosts=(router, *(host for host, _ in pairs)), links=tuple(link for _, link in pairs))


def _client(shape: Shape) -> tuple[Host, Link]:
    addresses = tuple(
        ip_interface(_CLIENTS[family].format(11 + n))
        for family in shape.families
        for n in range(shape.client_addresses)
    )
    gateways = tuple(ip_interface(_CLIENTS[family].format(1)) for family in shape.families)
    host = Host(
        name="client",
        role=Role.CLIENT,
        addresses={family: ip_interface(_CLIENTS[family].format(11)).ip for family in shape.families},
        uplink="router",
        routes=_default_routes(gateways),
    )
    lower = End(host="client", interface=UPLINK, addresses=addresses)
    return host, Link(lower=lower, upper=End(host="router", interface="client", addresses=gateways), mtu=CLIENT_MTU)


def _node(name: str, role: Role, subnet: int, shape: Shape) -> tuple[Host, Link]:
    on_segment = role is Role.LB_NODE and shape.announcer is AnnouncerName.VRRP
    if on_segment:
        gateways, addresses = _segment(1, shape), _segment(10 + subnet, shape)
    else:
        gateways, addresses = _underlay(subnet, 1, shape), _underlay(subnet, 2, shape)
    forwards = role is not Role.CONTROL
    host = Host(
        name=name,
        role=role,
        addresses=_by_family(addresses),
        uplink="router",
        routes=_default_routes(gateways),
        sysctls=_forwarding(shape) if forwards else {},
    )
    lower = End(host=name, interface=UPLINK, addresses=addresses)
    if role is Role.LB_NODE and shape.dataplane is not DataPlaneName.XDP:
        host = _with_shared_source(host, gateways[0].ip)
    redirects = role is Role.LB_NODE and shape.dataplane is DataPlaneName.XDP
    upper = End(
        host="router",
        interface=name,
        addresses=() if on_segment else gateways,
        bridge=SEGMENT if on_segment else "",
        receive_offload=redirects,
    )
    return host, Link(lower=lower, upper=upper, mtu=shape.underlay_mtu if forwards else CLIENT_MTU)


def _underlay(subnet: int, end: int, shape: Shape) -> tuple[IPInterface, ...]:
    return tuple(ip_interface(_UNDERLAY[family].format(end, subnet=subnet)) for family in shape.families)


def _segment(number: int, shape: Shape) -> tuple[IPInterface, ...]:
    return tuple(ip_interface(_ON_SEGMENT[family].format(number)) for family in shape.families)


def _with_shared_source(host: Host, gateway: IPAddress) -> Host:
    """IPVS looks up its tunnels' route without a protocol. What has one, such as health checks, goes by the main table
    with the node's own source: what answers the shared one would be spread over all LB nodes.
    """
    main = tuple(Rule(priority=_TUNNELS, table=254, protocol=protocol) for protocol in (1, 6, 17))
    tunnels = Rule(priority=_TUNNELS + 1, table=_TUNNELS, destination=_INSTANCES)
    way = Route(destination=_INSTANCES, gateway=gateway, source=_SHARED_SOURCE.ip, table=_TUNNELS)
    return replace(host, own=(_SHARED_SOURCE,), rules=(*main, tunnels), routes=(*host.routes, way))


def _instance(group: int, number: int, shape: Shape) -> tuple[Host, Link]:
    name = f"vm{(group - 1) * shape.instances_per_hypervisor + number}"
    addresses = tuple(ip_interface(_INSTANCE[family].format(group, 10 + number)) for family in shape.families)
    gateways: tuple[IPInterface, ...] = tuple(_INSTANCE_GATEWAY[family] for family in shape.families)
    host = Host(
        name=name,
        role=Role.INSTANCE,
        addresses=_by_family(addresses),
        uplink=f"hv{group}",
        routes=_default_routes(gateways, on_link=True),
    )
    lower = End(host=name, interface=UPLINK, addresses=addresses)
    upper = End(host=f"hv{group}", interface=name, addresses=gateways)
    return host, Link(lower=lower, upper=upper, mtu=CLIENT_MTU)


def _router(shape: Shape) -> Host:
    # The real 5-tuple. Policy 0 sends all flows of a client to one LB node. Policy 1 trusts skb->hash, which inside one
    # kernel is the sender's socket hash and changes at every retransmission timeout.
    spreading = {"fib_multipath_hash_policy": "3", "fib_multipath_hash_fields": "0x37"}
    vrrp = shape.announcer is AnnouncerName.VRRP
    return Host(
        name="router",
        role=Role.ROUTER,
        bridges={SEGMENT: _segment(1, shape)} if vrrp else {},
        routes=tuple(Route(destination=VIPS[family], interface=SEGMENT) for family in shape.families) if vrrp else (),
        addresses={family: ip_interface(_CLIENTS[family].format(1)).ip for family in shape.families},
        sysctls={
            **_forwarding(shape),
            **{f"net.ipv{family}.{key}": value for family in shape.families for key, value in spreading.items()},
        },
    )


def _forwarding(shape: Shape) -> dict[str, str]:
    switches = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
    return {switches[family]: "1" for family in shape.families}


def _default_routes(gateways: tuple[IPInterface, ...], *, on_link: bool = False) -> tuple[Route, ...]:
    return tuple(Route(destination=_ANYWHERE[each.version], gateway=each.ip, on_link=on_link) for each in gateways)


def _by_family(addresses: tuple[IPInterface, ...]) -> dict[int, IPAddress]:
    return {each.version: each.ip for each in addresses}


def _with_routes_to(host: Host, instances: list[tuple[Host, Link]], gateway: Host | None = None) -> Host:
    routes = tuple(
        Route(
            destination=ip_network(address),
            gateway=gateway.addresses[family] if gateway else None,
            interface=gateway.name if gateway else instance.name,
        )
        for instance, _ in instances
        for family, address in instance.addresses.items()
    )
    return replace(host, routes=(*host.routes, *routes))
