"""Find the interfaces that lead to instances, and ask whether the kernel would forward through them.

Everything works in the calling thread's network namespace.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure

_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER = 1
_RTN_UNICAST = 1
_STRICT = 1
_IPV4, _IPV6 = 4, 6
_SYSCTLS = Path("/proc/sys/net")
_DOES_NOT_FORWARD = {
    _IPV4: "packets: set net.ipv4.ip_forward=1",
    _IPV6: "IPv6 packets: set net.ipv6.conf.all.forwarding=1",
}


def index_of(name: str) -> int:
    """The index of an Ethernet interface. Raises SystemFailure when it is missing or has no Ethernet header."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise SystemFailure(
            f"There is no interface {name}: name the uplinks of this host in BASCULE_UPLINKS."
        ) from None
    if not _is_ethernet(name):
        raise SystemFailure(f"{name} carries no Ethernet frames: only Ethernet interfaces can be uplinks.")
    return index


def name_of(index: int) -> str:
    """The name of an interface, or words for one that is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"vanished interface {index}"


def find(
    instances: Iterable[IPAddress], uplinks: Set[int], families: Set[int]
) -> tuple[dict[IPAddress, int], dict[IPAddress, str]]:
    """The interface the kernel routes each instance's packets to, and for the others a sentence why there is none.

    `families` are the versions of IP whose tunnels are accepted at all.
    """
    found: dict[IPAddress, int] = {}
    missing: dict[IPAddress, str] = {}
    with IPRoute() as netlink:
        for instance in sorted(instances, key=address_order):
            index, reason = _route(netlink, instance)
            if instance.version not in families:
                index, reason = 0, f"BASCULE_TUNNEL_SOURCES names no IPv{instance.version} prefix"
            elif index in uplinks:
                index, reason = 0, f"its route leads back to the uplink {name_of(index)}"
            elif index and not _is_ethernet(name_of(index)):
                index, reason = 0, f"{name_of(index)} carries no Ethernet frames"
            if index:
                found[instance] = index
            else:
                missing[instance] = (
                    f"Instance {instance} cannot be reached ({reason}): its packets are dropped until it can."
                )
    return found, missing


def _route(netlink: IPRoute, instance: IPAddress) -> tuple[int, str]:
    try:
        route = netlink.route("get", dst=str(instance))[0]
    except NetlinkError as error:
        return 0, f"there is no route to it: {error}"
    if route["type"] != _RTN_UNICAST:
        return 0, "its address belongs to this host itself"
    return int(route.get_attr("RTA_OIF") or 0), "its route names no interface"


def _is_ethernet(name: str) -> bool:
    request = struct.pack("16s24x", name.encode())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            answer = fcntl.ioctl(asked, _SIOCGIFHWADDR, request)
    except OSError:
        return False
    return int(struct.unpack_from("=H", answer, 16)[0]) == _ARPHRD_ETHER


def obstacles(uplinks: Iterable[int], found: Mapping[IPAddress, int], families: Set[int]) -> list[str]:
    """Sentences about sysctls with which the kernel drops what we translate. Changing them is the operator's choice.

    `found` has the interface of each instance, `families` the versions of IP whose tunnels are accepted.
    """
    sentences = cannot_forward(uplinks, found, families)
    # ip-sysctl.rst: the greater of the two counts. Replies carry the VIP as source, whose route is elsewhere.
    everywhere = _sysctl(_IPV4, "all", "rp_filter")
    strict = [name for name in _names(found, _IPV4) if max(everywhere, _sysctl(_IPV4, name, "rp_filter")) == _STRICT]
    return sentences + [f"Strict rp_filter drops replies: set net.ipv4.conf.{name}.rp_filter=2." for name in strict]


def cannot_forward(uplinks: Iterable[int], found: Mapping[IPAddress, int], families: Set[int]) -> list[str]:
    """A sentence for each family of which the kernel forwards nothing between uplinks and instances."""
    # IPv6 is forwarded between all interfaces or none, whatever theirs say (ip-sysctl.rst).
    asked = {_IPV4: [*map(name_of, uplinks), *_names(found, _IPV4)], _IPV6: ["all"]}
    return [
        f"This host does not forward {words}."
        for version, words in _DOES_NOT_FORWARD.items()
        if version in families and not all(_sysctl(version, name, "forwarding", default=1) for name in asked[version])
    ]


def _names(found: Mapping[IPAddress, int], version: int) -> list[str]:
    """The interfaces of that family's instances, each once."""
    return [
        name_of(index)
        for index in dict.fromkeys(index for instance, index in found.items() if instance.version == version)
    ]


def _sysctl(version: int, interface: str, key: str, *, default: int = 0) -> int:
    try:
        return int((_SYSCTLS / f"ipv{version}" / "conf" / interface / key).read_text())
    except OSError:
        # The interface went away just now; the next round will tell.
        return default
