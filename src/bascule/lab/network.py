"""Build a topology out of network namespaces and veth pairs, and take it away again."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError, netns
from pyroute2.ethtool.ioctl import IoctlEthtool

from bascule.lab.topology import End, Host, Link, Role, Route, Rule, Topology
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system.namespaces import NAMESPACES, T, call_in

# A packet that comes in where its answer would not leave is normal with direct replies.
_IPV4 = {"net.ipv4.conf.{}.rp_filter": "0"}
# Addresses serve at once, without a second's search for duplicates, and survive a pulled cable as those of IPv4 do.
_IPV6 = {
    "net.ipv6.conf.{}.disable_ipv6": "0",
    "net.ipv6.conf.{}.accept_dad": "0",
    "net.ipv6.conf.{}.accept_ra": "0",
    "net.ipv6.conf.{}.keep_addr_on_down": "1",
}
# Where nobody has an address of IPv6 it would only add its own chatter.
_NO_IPV6 = {"net.ipv6.conf.{}.disable_ipv6": "1"}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def namespace(lab: str, host: str) -> str:
    """The namespace of a host."""
    return f"bsc-{lab}-{host}"


def namespaces_of(lab: str) -> dict[str, str]:
    """The namespaces that exist now, by host."""
    # Host names have no dash: so the namespaces of a lab `a` are never taken for those of a lab `a-b`.
    pattern = re.compile(rf"bsc-{re.escape(lab)}-([a-z0-9]+)")
    return {found[1]: name for name in _namespaces() if (found := pattern.fullmatch(name))}


def balancers_of(lab: str) -> list[str]:
    """The namespaces that data planes made for load balancers of the lab's nodes, each named after its address."""
    pattern = re.compile(rf"bascule-{re.escape(lab)}-[a-z0-9]+-[0-9a-f.:]+")
    return sorted(name for name in _namespaces() if pattern.fullmatch(name))


def _namespaces() -> list[str]:
    return sorted(path.name for path in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []


def build(lab: str, topology: Topology) -> None:
    """Create namespaces, links, addresses and routes. Raises SystemFailure naming what the kernel refused."""
    try:
        for host in topology.hosts:
            netns.create(namespace(lab, host.name))
            call_in(namespace(lab, host.name), partial(_prepare, host))
        for link in topology.links:
            _plug_in(lab, link)
        for host in topology.hosts:
            _in_host(lab, host.name, partial(_add_routes, host.routes))
    except (NetlinkError, OSError) as error:
        raise SystemFailure(f"The kernel refused a part of the lab's network: {error}. The lab needs root.") from error


def remove(lab: str) -> None:
    """Remove every namespace of the lab; the links go with them."""
    for name in (*balancers_of(lab), *namespaces_of(lab).values()):
        netns.remove(name)


def set_link(lab: str, host: str, interface: str, *, up: bool) -> None:
    """Pull a cable or plug it in again; the kernel forgets a downed interface's routes, so the host's come back too."""
    _in_host(lab, host, lambda ip: ip.link("set", index=_index(ip, interface), state="up" if up else "down"))


def add_routes(lab: str, host: Host) -> None:
    """Put back the routes of a host that are missing."""
    _in_host(lab, host.name, partial(_add_routes, host.routes))


def replug(lab: str, topology: Topology, link: Link) -> None:
    """Hand the far end of an instance's cable to the hypervisor where the link ends now; the instance never stops.

    Its addresses stay, and routes of both hypervisors and the router follow.
    """
    there = topology.host(link.upper.host)
    for other in topology.of_role(Role.HYPERVISOR):
        if other is not there:
            _in_host(lab, other.name, partial(_hand_over, link.upper.interface, namespace(lab, there.name)))
    _in_host(lab, there.name, partial(_configure, link.upper))
    for host in (there, topology.host(there.uplink)):
        add_routes(lab, host)


def _hand_over(interface: str, target: str, ip: IPRoute) -> None:
    for index in ip.link_lookup(ifname=interface):
        ip.link("set", index=index, net_ns_fd=target)


def link_is_up(lab: str, host: str, interface: str) -> bool:
    """Whether the interface is up and sees its peer."""
    state: str = _in_host(lab, host, lambda ip: ip.link("get", index=_index(ip, interface))[0].get("state"))
    return state == "up"


def addresses_on(lab: str, host: str, interface: str) -> frozenset[IPAddress]:
    """The addresses of one interface of a host."""

    def read(ip: IPRoute) -> frozenset[IPAddress]:
        found = ip.get_addr(index=_index(ip, interface))
        return frozenset(ip_address(each.get("local") or each.get("address")) for each in found)

    return _in_host(lab, host, read)


def hardware_address(lab: str, host: str, interface: str) -> str:
    """The MAC address of one interface of a host."""
    found: str = _in_host(lab, host, lambda ip: ip.link("get", index=_index(ip, interface))[0].get("address"))
    return found


def neighbours(lab: str, host: str, interface: str) -> dict[IPAddress, str]:
    """The MAC addresses that a host has learnt there, by address of either family."""

    def read(ip: IPRoute) -> dict[IPAddress, str]:
        found = ip.get_neighbours(ifindex=_index(ip, interface))
        return {ip_address(each.get("dst")): each.get("lladdr") for each in found if each.get("lladdr")}

    return _in_host(lab, host, read)


def next_hops(lab: str, host: str) -> dict[str, list[str]]:
    """The gateways of every route of a host to a single address, of both families."""

    def read(ip: IPRoute) -> dict[str, list[str]]:
        kinds = ((socket.AF_INET, 32), (socket.AF_INET6, 128))
        routes = (ip.get_routes(family=family, dst_len=length, table=254) for family, length in kinds)
        return dict(map(_gateways, chain.from_iterable(routes)))

    return _in_host(lab, host, read)


def _gateways(route: Any) -> tuple[str, list[str]]:
    hops = [hop.get("gateway") for hop in route.get("multipath") or ()] or [route.get("gateway")]
    return route.get("dst"), [hop for hop in hops if hop]


def _in_host(lab: str, host: str, work: Callable[[IPRoute], T]) -> T:
    def body() -> T:
        with IPRoute() as ip:
            return work(ip)

    return call_in(namespace(lab, host), body)


def _prepare(host: Host) -> None:
    for name, value in {**_switches(host), **host.sysctls}.items():
        Path("/proc/sys", *name.split(".")).write_text(value)
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, "lo"), state="up")
        for address in host.own:
            ip.addr("add", index=_index(ip, "lo"), address=str(address.ip), prefixlen=address.network.prefixlen)
        for rule in host.rules:
            _add_rule(rule, ip)
        for name, addresses in host.bridges.items():
            ip.link("add", ifname=name, kind="bridge")
            _configure(End(host=host.name, interface=name, addresses=addresses), ip)


def _switches(host: Host) -> dict[str, str]:
    # A kernel without IPv6 has no switch to turn it off.
    ipv6 = _IPV6 if 6 in host.addresses else _NO_IPV6 if Path("/proc/sys/net/ipv6").exists() else {}
    return {name.format(which): value for name, value in {**_IPV4, **ipv6}.items() for which in ("all", "default")}


def _plug_in(lab: str, link: Link) -> None:
    peer = {"ifname": link.upper.interface, "net_ns_fd": namespace(lab, link.upper.host), "mtu": link.mtu}
    _in_host(
        lab,
        link.lower.host,
        lambda ip: ip.link("add", ifname=link.lower.interface, kind="veth", mtu=link.mtu, peer=peer),
    )
    for end in (link.lower, link.upper):
        _in_host(lab, end.host, partial(_configure, end))
    for end in (link.lower, link.upper):
        # Only once both ends are up: a GRO set earlier does not make the other end a target of XDP redirects.
        call_in(namespace(lab, end.host), partial(_set_offloads, end))


def _set_offloads(end: End) -> None:
    device = IoctlEthtool(end.interface)
    with device.sock:
        # A checksum left for a card to fill in would never be: native XDP hands the frame on as it is.
        device.set_offload_flag("tx-checksumming", 0)
        device.set_offload_flag("generic-receive-offload", int(end.receive_offload))


def _configure(end: End, ip: IPRoute) -> None:
    index = _index(ip, end.interface)
    for address in end.addresses:
        ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    if end.bridge:
        ip.link("set", index=index, master=_index(ip, end.bridge))
        # A card takes only what is for its own address. A veth hands XDP everything, also what a bridge floods to all
        # when the port of an address is gone, and two nodes would balance it.
        ip.brport("set", index=index, unicast_flood=0)
    ip.link("set", index=index, state="up")


def _add_routes(routes: tuple[Route, ...], ip: IPRoute) -> None:
    for route in routes:
        flags = ["onlink"] if route.on_link else []
        more: dict[str, str] = {"gateway": str(route.gateway)} if route.gateway else {}
        if route.source:
            more["prefsrc"] = str(route.source)
        index, family = _index(ip, route.interface), _FAMILIES[route.destination.version]
        ip.route(
            "replace", family=family, dst=str(route.destination), oif=index, flags=flags, table=route.table, **more
        )


def _add_rule(rule: Rule, ip: IPRoute) -> None:
    protocol = {"ip_proto": rule.protocol} if rule.protocol else {}
    network = rule.destination
    destination = {"dst": str(network.network_address), "dst_len": network.prefixlen} if network.prefixlen else {}
    ip.rule("add", priority=rule.priority, table=rule.table, **protocol, **destination)


def _index(ip: IPRoute, interface: str) -> int:
    found = ip.link_lookup(ifname=interface)
    if not found:
        raise SystemFailure(f"There is no interface {interface} here: look at `ip link`.")
    return int(found[0])
