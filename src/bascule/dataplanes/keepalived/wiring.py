"""The way of packets into a load balancer's network namespace and of tunnels out of it.

    the node: route VIP -> bk… ==== uplink: the tunnels' source, default route -- the namespace: VIP on lo

The node routes: a packet for the VIP goes into the namespace, IPVS answers with a tunnel, which comes out and goes on
by the node's own routes. Nothing but IPVS is in the namespace, so that a port without a service refuses by itself.

Over IPv4 a tunnel has the source that the route names. Over IPv6 IPVS asks the kernel to choose (ip_vs_xmit.c,
__ip_vs_route_output_v6), which takes an address of the interface that the tunnel leaves by, before any other (RFC 6724,
rule 5). So the tunnels' source is on the uplink, and the VIP is not.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.ipvs import sysctls
from bascule.dataplanes.keepalived.naming import INNER_MAC, OUTER_MAC, UPLINK, Names
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.namespaces import NAMESPACES, call_in

_MTU = 1500  # bytes, where the node has no default route
_UP = 1  # IFF_UP
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_GLOBAL = 0  # RT_SCOPE_UNIVERSE
_STRICT = "1"
_INNER = {
    4: {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", f"ipv4/conf/{UPLINK}/rp_filter": "0"},
    # New namespaces may begin without IPv6.
    6: {f"ipv6/conf/{name}/disable_ipv6": "0" for name in ("lo", UPLINK)},
}


class Wiring:
    """For one load balancer, from the calling thread's network namespace, which is the node's."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._family = names.address.version
        self._inner = _INNER[self._family]
        self._mtu = _MTU

    def prepare(self, mtu: int) -> tuple[str, ...]:
        """See that the namespace is there with all that is in it. Returns a sentence if anything was missing."""
        self._mtu = mtu
        missing = self._missing_inside()
        if not missing:
            return ()
        names = self._names
        if not (NAMESPACES / names.namespace).exists():
            run(["ip", "netns", "add", names.namespace])
        if "link" in missing:
            _batch([], f"link del {names.link}", forgiving=True)
            _batch(
                [],
                f"link add {names.link} address {OUTER_MAC} type veth"
                f" peer name {UPLINK} address {INNER_MAC} netns {names.namespace}",
            )
        call_in(names.namespace, lambda: sysctls.put(self._inner))
        _batch([], f"link set {names.link} mtu {mtu}")
        # IPv6 would first ask whether somebody else has the address, and not use it meanwhile.
        once = " nodad" if self._family == 6 else ""
        _batch(
            ["-n", names.namespace],
            "link set lo up",
            f"link set {UPLINK} mtu {mtu} up",
            f"addr flush dev {UPLINK} scope global",
            f"addr replace {_alone(names.address)} dev lo",
            f"addr replace {_alone(names.source)} dev {UPLINK}{once}",
            f"neigh replace {names.gateway} lladdr {OUTER_MAC} dev {UPLINK} nud permanent",
            f"route replace default via {names.gateway} dev {UPLINK} onlink src {names.source}",
        )
        return (f"Put right {', '.join(sorted(missing))} of {names.address} in {names.namespace}.",)

    def open(self) -> tuple[str, ...]:
        """Let packets in. Returns a sentence if they were not."""
        missing = self._missing_outside()
        if not missing:
            return ()
        names = self._names
        _batch(
            [],
            f"link set {names.link} up",
            f"neigh replace {names.address} lladdr {INNER_MAC} dev {names.link} nud permanent",
            f"route replace {_alone(names.address)} dev {names.link}",
        )
        sysctls.forward({self._family})
        sysctls.put(self._outer())
        return (f"Put right {', '.join(sorted(missing))} of {names.address} on {names.link}.",)

    def is_complete(self) -> bool:
        """Whether packets find their way in and tunnels out."""
        return not self._missing_inside() and not self._missing_outside()

    def close(self) -> None:
        """Let no more packets in."""
        _batch([], f"link del {self._names.link}", forgiving=True)

    def remove(self) -> None:
        """Take the namespace away, with IPVS's table in it."""
        run(["ip", "netns", "del", self._names.namespace])

    def _outer(self) -> dict[str, str]:
        link = self._names.link
        if self._family == 6:
            return {"ipv6/conf/all/forwarding": "1", f"ipv6/conf/{link}/disable_ipv6": "0"}
        # The node may hold the tunnels' source itself.
        return {
            "ipv4/ip_forward": "1",
            f"ipv4/conf/{link}/rp_filter": "0",
            f"ipv4/conf/{link}/accept_local": "1",
        }

    def _missing_inside(self) -> frozenset[str]:
        names, mtu = self._names, self._mtu
        if not (NAMESPACES / names.namespace).exists():
            return frozenset({"namespace", "link"})
        # The ends of a link come and go together.
        if names.link not in _links():
            return frozenset({"link"})
        return call_in(names.namespace, lambda: sysctls.differing(self._inner) | _lacks_inside(names, mtu))

    def _missing_outside(self) -> frozenset[str]:
        if self._names.link not in _links():
            return frozenset({"link"})
        return sysctls.differing(self._outer()) | _lacks_outside(self._names)


def require_routing() -> None:
    """Raises SystemFailure when the node would drop tunnels that come out of a namespace."""
    if Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text().strip() == _STRICT:
        raise SystemFailure(
            "net.ipv4.conf.all.rp_filter is 1: the node would drop tunnels of its own load balancers. Set it to 0 or 2."
        )


def tunnel_mtu() -> int:
    """How long tunnels may be, in bytes: IPVS tells clients, as it would on the node's own interface."""
    with IPRoute() as netlink:
        routes = (route for family in _FAMILIES.values() for route in netlink.get_default_routes(family=family))
        ways = {route.get("oif") for route in routes} - {None}
        return min((int(netlink.get_links(index)[0].get("mtu")) for index in ways), default=_MTU)


def _lacks_inside(names: Names, mtu: int) -> frozenset[str]:
    with IPRoute() as netlink:
        links = {link.get("ifname"): link for link in netlink.get_links()}
        lo, uplink = links["lo"], links[UPLINK]
        held = {(each["index"], each.get("address")) for each in netlink.get_addr(scope=_GLOBAL)}
        routes = netlink.get_default_routes(family=_FAMILIES[names.address.version])
        found = {
            "address": (lo["index"], str(names.address)) in held,
            # Another one there could become the source of tunnels.
            "tunnel source": {each for index, each in held if index == uplink["index"]} == {str(names.source)},
            "uplink": _is_up(uplink) and _is_up(lo) and uplink.get("mtu") == mtu,
            "default route": any(each.get("prefsrc") == str(names.source) for each in routes),
            "gateway": any(
                each.get("dst") == str(names.gateway) and each.get("lladdr") == OUTER_MAC
                for each in netlink.get_neighbours(ifindex=uplink["index"])
            ),
        }
    return frozenset(what for what, there in found.items() if not there)


def _lacks_outside(names: Names) -> frozenset[str]:
    with IPRoute() as netlink:
        (link,) = netlink.link("get", ifname=names.link)
        index = link["index"]
        found = {
            "link": _is_up(link),
            "route": _way_to(netlink, names) == index,
            "neighbour": any(
                each.get("dst") == str(names.address) and each.get("lladdr") == INNER_MAC
                for each in netlink.get_neighbours(ifindex=index)
            ),
        }
    return frozenset(what for what, there in found.items() if not there)


def _way_to(netlink: Any, names: Names) -> int | None:
    try:
        (route,) = netlink.route("get", dst=str(names.address))
    except NetlinkError:
        return None
    index = route.get("oif")
    return int(index) if index is not None else None


def _is_up(link: Any) -> bool:
    return bool(link["flags"] & _UP)


def _links() -> set[str]:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}


def _batch(options: Iterable[str], *commands: str, forgiving: bool = False) -> None:
    try:
        run(["ip", *options, "-batch", "-"], stdin="\n".join(commands) + "\n")
    except SystemFailure:
        if not forgiving:
            raise


def _alone(address: IPAddress) -> str:
    return f"{address}/{address.max_prefixlen}"
