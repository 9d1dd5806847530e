"""Reads what belongs to the calling thread's network namespace: interfaces, sysctls, firewall rules, ways to nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from bascule.doctor.facts import Choice, Interface, NetworkFacts
from bascule.doctor.netdev import native_xdp
from bascule.doctor.paths import sizes
from bascule.doctor.ping import look_up, probe
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system.commands import run

_SETTINGS = Path("/proc/sys/net/ipv4")
_SHARED = ("all", "default")
_KEYS = ("rp_filter", "arp_ignore", "arp_announce", "forwarding")
_ARPHRD_ETHER = 1


def gather_network(
    choice: Choice, towards: Iterable[IPAddress] = (), instances: Iterable[IPAddress] = ()
) -> NetworkFacts:
    """Everything about this namespace, the ways from it to other nodes, and those of tunnels to instances."""
    conf = {f"net.ipv4.conf.{name}.{key}": value for name in _SHARED for key, value in _switches(name).items()}
    return NetworkFacts(
        interfaces=_interfaces(),
        sysctls={**_forwarding(), **conf, **_conntrack()},
        ruleset=_ruleset(),
        legacy_tables=_legacy_tables(),
        paths=tuple(probe(address, sizes(choice, address.version)) for address in towards),
        tunnels=tuple(map(look_up, instances)),
    )


def _interfaces() -> Mapping[str, Interface]:
    with IPRoute() as netlink:
        links = [link for link in netlink.get_links() if link.get_attr("IFLA_IFNAME") != "lo"]
    native = native_xdp([link["index"] for link in links])
    found = {}
    for link in links:
        name = link.get_attr("IFLA_IFNAME")
        found[name] = Interface(
            name=name,
            kind=_kind(link),
            ethernet=link["ifi_type"] == _ARPHRD_ETHER,
            up=bool(link["flags"] & 1),
            mtu=link.get_attr("IFLA_MTU"),
            native_xdp=native.get(link["index"]),
            sysctls=_switches(name),
        )
    return found


def _kind(link: Any) -> str:
    information = link.get_attr("IFLA_LINKINFO")
    return (information and information.get_attr("IFLA_INFO_KIND")) or ""


def _forwarding() -> dict[str, int]:
    everywhere = _SETTINGS.parent / "ipv6/conf/all/forwarding"
    return {"net.ipv4.ip_forward": _read(_SETTINGS / "ip_forward"), "net.ipv6.conf.all.forwarding": _read(everywhere)}


def _conntrack() -> dict[str, int]:
    """How many connections conntrack knows, and how many it may; 0 while it is not in use."""
    names = ("nf_conntrack_count", "nf_conntrack_max")
    return {f"net.netfilter.{name}": _read(_SETTINGS.parent / "netfilter" / name) for name in names}


def _switches(name: str) -> dict[str, int]:
    return {key: _read(_SETTINGS / "conf" / name / key) for key in _KEYS}


def _read(path: Path) -> int:
    try:
        return int(path.read_text())
    except OSError:
        return 0  # none of that family on this interface, or it went away just now


def _ruleset() -> tuple[Mapping[str, Any], ...]:
    try:
        listed = json.loads(run(["nft", "-j", "list", "ruleset"]) or "{}")
    except SystemFailure:
        return ()  # without nft there are no rules of nftables; what is missing is said elsewhere
    return tuple(listed.get("nftables", ()))


def _legacy_tables() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/net/ip_tables_names").read_text().split())
    except OSError:
        return ()
