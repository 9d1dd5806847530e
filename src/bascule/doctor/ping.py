"""How long a packet may be to another node: its route, and ICMP echoes that nobody may fragment."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.doctor.facts import Path
from bascule.model.addresses import IPAddress


@dataclass(frozen=True)
class _Echo:
    """How one family sends echoes that nobody fragments (linux/in.h, linux/in6.h; RFC 792, RFC 4443)."""

    family: socket.AddressFamily
    protocol: int
    option: tuple[int, int, int]  # level, "discover the MTU", "but send what is longer than you know"
    headers: int  # bytes, IP and ICMP
    request: int
    reply: int


_ECHOES = {
    4: _Echo(socket.AF_INET, socket.IPPROTO_ICMP, (socket.IPPROTO_IP, 10, 3), 28, 8, 0),
    6: _Echo(socket.AF_INET6, socket.IPPROTO_ICMPV6, (socket.IPPROTO_IPV6, 23, 3), 48, 128, 129),
}


def probe(address: IPAddress, sizes: Iterable[int], *, timeout: float = 0.5) -> Path:
    """Look up the route, then send echoes of these sizes in bytes until one is answered, `timeout` seconds each."""
    way = _route(address)
    fitting = (size for size in sizes if size <= (way.route_mtu or 0))
    return replace(way, answered=next((size for size in fitting if _echo(address, size, timeout)), None))


def look_up(address: IPAddress) -> Path:
    """Look up the route, and the source that IPVS's tunnels take from it.

    IPVS names no protocol, for which nobody can ask: `ip route get` asks for UDP. A raw socket's is none that a rule
    of policy routing would name.
    """
    with socket.socket(_ECHOES[address.version].family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        try:
            raw.connect((str(address), 0))
        except OSError:
            return Path(address=address)
        return replace(_route(address), source=_address(raw.getsockname()[0]))


def _route(address: IPAddress) -> Path:
    with IPRoute() as netlink:
        try:
            route = netlink.route("get", dst=str(address))[0]
        except NetlinkError:
            return Path(address=address)
        (link,) = netlink.get_links(route.get_attr("RTA_OIF"))
    metrics = route.get_attr("RTA_METRICS")
    return Path(
        address=address,
        interface=link.get_attr("IFLA_IFNAME"),
        gateway=_address(route.get_attr("RTA_GATEWAY")),
        route_mtu=(metrics and metrics.get_attr("RTAX_MTU")) or link.get_attr("IFLA_MTU"),
    )


def _address(text: str | None) -> IPAddress | None:
    return ip_address(text) if text else None


def _echo(address: IPAddress, size: int, timeout: float) -> bool:
    kind, mark = _ECHOES[address.version], os.urandom(8)
    message = struct.pack("!BBHHH", kind.request, 0, 0, 0xBA5C, size) + mark.ljust(size - kind.headers, b"\0")
    # The kernel overwrites that of ICMPv6, which covers the addresses (RFC 3542).
    message = message[:2] + struct.pack("!H", _checksum(message)) + message[4:]
    deadline = time.monotonic() + timeout
    with socket.socket(kind.family, socket.SOCK_RAW, kind.protocol) as raw:
        raw.setsockopt(*kind.option)
        raw.connect((str(address), 0))
        try:
            raw.send(message)
            while (left := deadline - time.monotonic()) > 0:
                raw.settimeout(left)
                answer = _without_header(raw.recv(65535), address.version)
                if answer[0] == kind.reply and answer[8:16] == mark:
                    return True
        except OSError:
            return False  # too long for the interface, unreachable, or nobody answered in time
    return False


def _without_header(packet: bytes, version: int) -> bytes:
    """Raw sockets of IPv4 give the IP header, those of IPv6 do not."""
    return packet[(packet[0] & 15) * 4 :] if version == 4 else packet


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    return (total + (total >> 16)) & 0xFFFF ^ 0xFFFF
