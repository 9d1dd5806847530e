"""Where a packet for an address leaves this machine, and to which MAC address: links, routes and neighbours by netlink.

An XDP program forwards frames without the kernel's help, so somebody has to keep the MAC addresses it writes right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress

# linux/neighbour.h and linux/rtnetlink.h
_NUD_STALE = 0x04
_NUD_FAILED = 0x20
_NUD_VALID = 0x02 | _NUD_STALE | 0x08 | 0x10 | 0x40 | 0x80
_NTF_USE = 0x01
_RTN_UNICAST = 1
_CARRIES = 0x1 | 0x10000  # IFF_UP and IFF_LOWER_UP of linux/if.h: wanted up, and there is somebody at the other end

_FAMILIES = {4: AF_INET, 6: AF_INET6}
# An interface's index and an address on its link.
_Neighbour = tuple[int, IPAddress]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextHop:
    """How to reach an address: through which interface, and which neighbour.

    MACs are 6 bytes, `mac` is None while the neighbour is unknown, and when it does not answer (`is_failed`). `mtu` is
    bytes of an IP packet.
    """

    ifindex: int
    neighbour: IPAddress
    source_mac: bytes
    mac: bytes | None
    mtu: int
    is_veth: bool
    is_failed: bool = False


@dataclass(frozen=True, slots=True)
class _Link:
    mac: bytes
    mtu: int
    is_veth: bool
    is_up: bool


class NextHops:
    """Resolves addresses and remembers the answers until told that something changed. Not for two threads at once."""

    def __init__(self) -> None:
        self._found: dict[IPAddress, NextHop | None] = {}
        # The interfaces (indexes) that carry nothing, when routes were last asked for.
        self.down: frozenset[int] = frozenset()

    def forget_routes(self) -> None:
        """Ask the kernel again for every route: links or routes have changed."""
        self._found.clear()

    def resolve(self, addresses: Iterable[IPAddress]) -> Mapping[IPAddress, NextHop | None]:
        """The next hop of each address, None where no route leads. The neighbours' MACs are read anew."""
        wanted = set(addresses)
        with IPRoute() as netlink:
            unknown = wanted - self._found.keys()
            links = _links(netlink) if unknown else {}
            hops = {address: self._found.get(address) for address in wanted - unknown}
            hops |= {address: _route(netlink, links, address) for address in unknown}
            # Read after the routes: a link that goes just now takes its routes along.
            if unknown:
                self.down = frozenset(index for index, link in _links(netlink).items() if not link.is_up)
            macs = _neighbours(netlink) if hops else {}
        self._found = {address: _with_mac(hop, macs) for address, hop in hops.items()}
        return self._found

    def provoke(self) -> None:
        """Make the kernel ask (ARP, NDP) for every neighbour it does not know for certain; answers come as events."""
        known = {(hop.ifindex, hop.neighbour) for hop in self._found.values() if hop is not None}
        with IPRoute() as netlink:
            # Asking for a permanent neighbour would make it an ordinary one.
            sure = _sure(netlink)
            for ifindex, neighbour in known:
                if (ifindex, neighbour) not in sure:
                    _use(netlink, ifindex, neighbour)


def _with_mac(hop: NextHop | None, macs: Mapping[_Neighbour, bytes | None]) -> NextHop | None:
    if hop is None:
        return None
    # A neighbour the kernel has merely forgotten is most likely where it was; only a failed one is gone.
    mac = macs.get(key := (hop.ifindex, hop.neighbour), hop.mac)
    return replace(hop, mac=mac, is_failed=key in macs and mac is None)


def _links(netlink: Any) -> dict[int, _Link]:
    links = {}
    for link in netlink.get_links():
        information = link.get("linkinfo")
        kind = information.get("kind") if information else None
        mac = bytes.fromhex((link.get("address") or "").replace(":", ""))
        links[link["index"]] = _Link(mac, link.get("mtu"), kind == "veth", link["flags"] & _CARRIES == _CARRIES)
    return links


def _route(netlink: Any, links: Mapping[int, _Link], address: IPAddress) -> NextHop | None:
    try:
        route = netlink.route("get", family=_FAMILIES[address.version], dst=str(address))[0]
    except NetlinkError:
        return None
    link = links.get(route.get("oif"))
    # The kernel keeps a local or blackhole destination for itself, and links without MACs cannot carry our frames.
    if route["type"] != _RTN_UNICAST or link is None or len(link.mac) != 6:
        return None
    metrics = route.get("metrics")
    route_mtu = metrics.get("mtu") if metrics else None
    return NextHop(
        ifindex=route.get("oif"),
        neighbour=_gateway(route) or address,
        source_mac=link.mac,
        mac=None,
        mtu=min(link.mtu, route_mtu or link.mtu),
        is_veth=link.is_veth,
    )


def _gateway(route: Any) -> IPAddress | None:
    # IPv4 may be routed by way of an IPv6 gateway (RFC 8950), which has an attribute of its own.
    via = route.get("via")
    found = via["addr"] if via else route.get("gateway")
    return ip_address(found) if found else None


def _all_neighbours(netlink: Any) -> Iterator[tuple[_Neighbour, Any]]:
    for family in _FAMILIES.values():
        for neighbour in netlink.get_neighbours(family=family):
            yield (neighbour["ifindex"], ip_address(neighbour.get("dst"))), neighbour


def _neighbours(netlink: Any) -> dict[_Neighbour, bytes | None]:
    """MACs by interface and address; None for a failed neighbour. One that is being asked for is left out."""
    found: dict[_Neighbour, bytes | None] = {}
    for key, neighbour in _all_neighbours(netlink):
        mac = neighbour.get("lladdr")
        if neighbour["state"] & _NUD_VALID and mac:
            found[key] = bytes.fromhex(mac.replace(":", ""))
        elif neighbour["state"] & _NUD_FAILED:
            found[key] = None
    return found


def _sure(netlink: Any) -> set[_Neighbour]:
    """Neighbours that are known, or being asked for at this moment."""
    return {
        key
        for key, neighbour in _all_neighbours(netlink)
        if neighbour["state"] and not neighbour["state"] & (_NUD_STALE | _NUD_FAILED)
    }


def _use(netlink: Any, ifindex: int, neighbour: IPAddress) -> None:
    try:
        family = _FAMILIES[neighbour.version]
        netlink.neigh("replace", family=family, dst=str(neighbour), ifindex=ifindex, flags=_NTF_USE, state=0)
    except NetlinkError:
        # The interface has just gone; the watcher hears of that too.
        return
