"""The way of packets into a load balancer's network namespace and of tunnels out of it.

    the node: route VIP -> bk… ==== uplink, default route, its source the tunnels' -- the namespace: VIP on lo

The node routes: a packet for the VIP goes into the namespace, IPVS answers with a tunnel, which comes out and goes on
by the node's own routes. Nothing but IPVS is in the namespace, so that a port without a service refuses by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.keepalived.naming import GATEWAY, INNER_MAC, OUTER_MAC, UPLINK, Names
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.namespaces import NAMESPACES, call_in

_MTU = 1500  # bytes, where the node has no default route
_UP = 1  # IFF_UP
_STRICT = "1"
_INNER = {"ip_forward": "1", "conf/all/rp_filter": "0", f"conf/{UPLINK}/rp_filter": "0"}


class Wiring:
    """For one load balancer, from the calling thread's network namespace, which is the node's."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def prepare(self) -> tuple[str, ...]:
        """See that the namespace is there with all that is in it. Returns a sentence if anything was missing."""
        mtu = _mtu()
        missing = self._missing(mtu, outside=False)
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
        _batch([], f"link set {names.link} mtu {mtu}")
        _batch(
            ["-n", names.namespace],
            "link set lo up",
            f"addr replace {names.address}/32 dev lo",
            f"addr replace {names.source}/32 dev lo",
            f"link set {UPLINK} mtu {mtu} up",
            f"neigh replace {GATEWAY} lladdr {OUTER_MAC} dev {UPLINK} nud permanent",
            f"route replace default via {GATEWAY} dev {UPLINK} onlink src {names.source}",
        )
        call_in(names.namespace, lambda: _set(_INNER))
        return (f"Put right {', '.join(sorted(missing))} of {names.address} in {names.namespace}.",)

    def open(self) -> tuple[str, ...]:
        """Let packets in. Returns a sentence if they were not."""
        missing = self._missing(_mtu(), outside=True)
        if not missing:
            return ()
        names = self._names
        _batch(
            [],
            f"link set {names.link} up",
            f"neigh replace {names.address} lladdr {INNER_MAC} dev {names.link} nud permanent",
            f"route replace {names.address}/32 dev {names.link}",
        )
        _set(self._outer())
        return (f"Put right {', '.join(sorted(missing))} of {names.address} on {names.link}.",)

    def is_complete(self) -> bool:
        """Whether packets find their way in and tunnels out."""
        return not self._missing(_mtu(), outside=False) and not self._missing(_mtu(), outside=True)

    def close(self) -> None:
        """Let no more packets in."""
        _batch([], f"link del {self._names.link}", forgiving=True)

    def remove(self) -> None:
        """Take the namespace away, with IPVS's table in it."""
        run(["ip", "netns", "del", self._names.namespace])

    def _outer(self) -> dict[str, str]:
        link = self._names.link
        # The node may hold the tunnels' source itself.
        return {"ip_forward": "1", f"conf/{link}/rp_filter": "0", f"conf/{link}/accept_local": "1"}

    def _missing(self, mtu: int, *, outside: bool) -> frozenset[str]:
        if outside:
            return _unset(self._outer()) | _missing_outside(self._names)
        if not (NAMESPACES / self._names.namespace).exists():
            return frozenset({"namespace", "link"})
        if self._names.link not in _links():
            return frozenset({"link"})
        return call_in(self._names.namespace, lambda: _missing_inside(self._names, mtu) | _unset(_INNER))


def require_routing() -> None:
    """Raises SystemFailure when the node would drop tunnels that come out of a namespace."""
    if _read("conf/all/rp_filter") == _STRICT:
        raise SystemFailure(
            "net.ipv4.conf.all.rp_filter is 1: the node would drop tunnels of its own load balancers. Set it to 0 or 2."
        )


def _missing_inside(names: Names, mtu: int) -> frozenset[str]:
    with IPRoute() as netlink:
        links = {link.get("ifname"): link for link in netlink.get_links()}
        uplink = links.get(UPLINK)
        if uplink is None:
            return frozenset({"link"})
        held = {each.get("address") for each in netlink.get_addr(index=links["lo"]["index"])}
        routes = netlink.get_default_routes(family=2)
        found = {
            "address": str(names.address) in held,
            "tunnel source": str(names.source) in held,
            "uplink": _is_up(uplink) and _is_up(links["lo"]) and uplink.get("mtu") == mtu,
            "default route": any(each.get("prefsrc") == str(names.source) for each in routes),
            "gateway": any(
                each.get("dst") == str(GATEWAY) and each.get("lladdr") == OUTER_MAC
                for each in netlink.get_neighbours(ifindex=uplink["index"])
            ),
        }
    return frozenset(what for what, there in found.items() if not there)


def _missing_outside(names: Names) -> frozenset[str]:
    with IPRoute() as netlink:
        indexes = netlink.link_lookup(ifname=names.link)
        if not indexes:
            return frozenset({"link"})
        found = {
            "link": _is_up(netlink.get_links(indexes[0])[0]),
            "route": _way_to(netlink, names) == indexes[0],
            "neighbour": any(
                each.get("dst") == str(names.address) and each.get("lladdr") == INNER_MAC
                for each in netlink.get_neighbours(ifindex=indexes[0])
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


def _mtu() -> int:
    """What tunnels may be long: IPVS tells clients, as it would on the node's own interface."""
    with IPRoute() as netlink:
        for route in netlink.get_default_routes(family=2):
            index = route.get("oif")
            if index is not None:
                return int(netlink.get_links(index)[0].get("mtu"))
    return _MTU


def _batch(options: Iterable[str], *commands: str, forgiving: bool = False) -> None:
    try:
        run(["ip", *options, "-batch", "-"], stdin="\n".join(commands) + "\n")
    except SystemFailure:
        if not forgiving:
            raise


def _read(name: str) -> str:
    try:
        return Path("/proc/sys/net/ipv4", name).read_text().strip()
    except OSError:
        return ""


def _unset(wanted: dict[str, str]) -> frozenset[str]:
    return frozenset(f"net.ipv4.{name}" for name, value in wanted.items() if _read(name) != value)


def _set(wanted: dict[str, str]) -> None:
    for name, value in wanted.items():
        if _read(name) != value:
            try:
                Path("/proc/sys/net/ipv4", name).write_text(value)
            except OSError as error:
                raise SystemFailure(f"Cannot set net.ipv4.{name}: {error.strerror}. Run as root.") from error
