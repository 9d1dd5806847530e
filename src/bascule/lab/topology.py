"""The data centre as data: hosts, links, addresses and routes. Pure; `network` builds what this says.

    client 198.51.100.11-26 ── router ── lb1, lb2        (announce VIPs of 203.0.113.16/28)
                                 ├────── hv1 ── vm1, vm2
                                 ├────── hv2 ── vm3, vm4
                                 └────── control

Every lab has the same addresses inside; only the names of its namespaces differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from bascule.model.data_planes import DataPlaneName

VIPS = IPv4Network("203.0.113.16/28")
TUNNEL_SOURCE = IPv4Network("10.99.0.0/16")
INSTANCE_PORT = 8080
AGENT_PORT = 7701
ROUTER_AS = 65000
LB_AS = 65001
CLIENT_MTU = 1500
UPLINK = "eth0"
# The outer source of IPVS's tunnels, which it takes from a route; the LB nodes share it. XDP writes its own ones.
_SHARED_SOURCE = IPv4Interface("10.99.0.1/32")
_INSTANCES = IPv4Network("10.128.0.0/16")
_TUNNELS = 100
_ANYWHERE = IPv4Network("0.0.0.0/0")
# Instances are routed as /32 and reach the world through this address, which every hypervisor answers for.
_INSTANCE_GATEWAY = IPv4Address("169.254.1.1")


class Role(StrEnum):
    """What a host is there for."""

    CLIENT = "client"
    ROUTER = "router"
    CONTROL = "control"
    LB_NODE = "lb node"
    HYPERVISOR = "hypervisor"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What can be chosen about a lab; `usual_forwarding` says which forwarding suits a data plane.

    `check_interval` is in seconds, and how long a health check waits for its answer too.
    """

    underlay_mtu: int = 1600
    lb_nodes: int = 2
    hypervisors: int = 2
    instances_per_hypervisor: int = 2
    client_addresses: int = 16
    forwarding: str = "ebpf"
    dataplane: DataPlaneName = DataPlaneName.XDP
    check_interval: int = 1


def usual_forwarding(dataplane: DataPlaneName) -> str:
    """What hypervisors run unless somebody chooses: eBPF on both sides, or the kernel's own means on both."""
    return "ebpf" if dataplane is DataPlaneName.XDP else "netfilter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of one host; `on_link` trusts that the gateway is there although no address says so.

    `source` is the address that packets begin with which have none yet; `table` is 254 for the main one.
    """

    destination: IPv4Network = _ANYWHERE
    gateway: IPv4Address | None = None
    interface: str = UPLINK
    on_link: bool = False
    source: IPv4Address | None = None
    table: int = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which packets look up their route in which table, by protocol (0 is any) and destination. The least is first."""

    priority: int
    table: int
    protocol: int = 0
    destination: IPv4Network = _ANYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One namespace. `uplink` is the host its eth0 is plugged into; `own` are addresses of no link."""

    name: str
    role: Role
    address: IPv4Address
    uplink: str = ""
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    own: tuple[IPv4Interface, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a link. `receive_offload` is GRO, which XDP on the other end needs to send anything back."""

    host: str
    interface: str
    addresses: tuple[IPv4Interface, ...] = ()
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

    @property
    def client_addresses(self) -> tuple[IPv4Address, ...]:
        """Every address the client host can speak from."""
        return tuple(interface.ip for interface in self.links[0].lower.addresses)


def data_centre(shape: Shape) -> Topology:
    """Lay out the data centre."""
    pairs = [_client(shape), _node("control", Role.CONTROL, 0, shape)]
    pairs += [_node(f"lb{n}", Role.LB_NODE, n, shape) for n in range(1, shape.lb_nodes + 1)]
    router = _router()
    for group in range(1, shape.hypervisors + 1):
        instances = [_instance(group, n, shape) for n in range(1, shape.instances_per_hypervisor + 1)]
        hypervisor, link = _node(f"hv{group}", Role.HYPERVISOR, 100 + group, shape)
        router = _with_routes_to(router, instances, gateway=hypervisor)
        pairs += [(_with_routes_to(hypervisor, instances), link), *instances]
    return Topology(hosts=(router, *(host for host, _ in pairs)), links=tuple(link for _, link in pairs))


def _client(shape: Shape) -> tuple[Host, Link]:
    addresses = tuple(IPv4Interface(f"198.51.100.{11 + n}/24") for n in range(shape.client_addresses))
    gateway = IPv4Interface("198.51.100.1/24")
    host = Host(
        name="client",
        role=Role.CLIENT,
        address=addresses[0].ip,
        uplink="router",
        routes=(Route(gateway=gateway.ip),),
    )
    lower = End(host="client", interface=UPLINK, addresses=addresses)
    return host, Link(lower=lower, upper=End(host="router", interface="client", addresses=(gateway,)), mtu=CLIENT_MTU)


def _node(name: str, role: Role, subnet: int, shape: Shape) -> tuple[Host, Link]:
    gateway, address = IPv4Interface(f"10.0.{subnet}.1/30"), IPv4Interface(f"10.0.{subnet}.2/30")
    forwards = role is not Role.CONTROL
    host = Host(
        name=name,
        role=role,
        address=address.ip,
        uplink="router",
        routes=(Route(gateway=gateway.ip),),
        sysctls={"net.ipv4.ip_forward": "1"} if forwards else {},
    )
    lower = End(host=name, interface=UPLINK, addresses=(address,))
    if role is Role.LB_NODE and shape.dataplane is not DataPlaneName.XDP:
        host = _with_shared_source(host, gateway.ip)
    redirects = role is Role.LB_NODE and shape.dataplane is DataPlaneName.XDP
    upper = End(host="router", interface=name, addresses=(gateway,), receive_offload=redirects)
    return host, Link(lower=lower, upper=upper, mtu=shape.underlay_mtu if forwards else CLIENT_MTU)


def _with_shared_source(host: Host, gateway: IPv4Address) -> Host:
    """IPVS looks up its tunnels' route without a protocol. What has one, such as health checks, goes by the main table
    with the node's own source: what answers the shared one would be spread over all LB nodes.
    """
    main = tuple(Rule(priority=_TUNNELS, table=254, protocol=protocol) for protocol in (1, 6, 17))
    tunnels = Rule(priority=_TUNNELS + 1, table=_TUNNELS, destination=_INSTANCES)
    way = Route(destination=_INSTANCES, gateway=gateway, source=_SHARED_SOURCE.ip, table=_TUNNELS)
    return replace(host, own=(_SHARED_SOURCE,), rules=(*main, tunnels), routes=(*host.routes, way))


def _instance(group: int, number: int, shape: Shape) -> tuple[Host, Link]:
    name = f"vm{(group - 1) * shape.instances_per_hypervisor + number}"
    address = IPv4Interface(f"10.128.{group}.{10 + number}/32")
    host = Host(
        name=name,
        role=Role.INSTANCE,
        address=address.ip,
        uplink=f"hv{group}",
        routes=(Route(gateway=_INSTANCE_GATEWAY, on_link=True),),
    )
    lower = End(host=name, interface=UPLINK, addresses=(address,))
    upper = End(host=f"hv{group}", interface=name, addresses=(IPv4Interface(_INSTANCE_GATEWAY),))
    return host, Link(lower=lower, upper=upper, mtu=CLIENT_MTU)


def _router() -> Host:
    return Host(
        name="router",
        role=Role.ROUTER,
        address=IPv4Address("198.51.100.1"),
        sysctls={
            "net.ipv4.ip_forward": "1",
            # The real 5-tuple. Policy 0 sends all flows of a client to one LB node. Policy 1 trusts skb->hash, which
            # inside one kernel is the sender's socket hash and changes at every retransmission timeout.
            "net.ipv4.fib_multipath_hash_policy": "3",
            "net.ipv4.fib_multipath_hash_fields": "0x37",
        },
    )


def _with_routes_to(host: Host, instances: list[tuple[Host, Link]], gateway: Host | None = None) -> Host:
    routes = tuple(
        Route(
            destination=IPv4Network(instance.address),
            gateway=gateway.address if gateway else None,
            interface=gateway.name if gateway else instance.name,
        )
        for instance, _ in instances
    )
    return replace(host, routes=(*host.routes, *routes))
