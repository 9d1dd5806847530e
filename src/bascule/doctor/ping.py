"""How long a packet may be to another node: its route, and ICMP echoes that nobody may fragment."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.doctor.facts import Path
from bascule.model.addresses import IPAddress

# linux/in.h
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_PROBE = 3
_HEADERS = 28  # bytes, IPv4 and ICMP
_ECHO, _ECHO_REPLY = 8, 0


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
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
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
    mark = os.urandom(8)
    message = struct.pack("!BBHHH", _ECHO, 0, 0, 0xBA5C, size) + mark.ljust(size - _HEADERS, b"\0")
    message = message[:2] + struct.pack("!H", _checksum(message)) + message[4:]
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        raw.connect((str(address), 0))
        try:
            raw.send(message)
            while (left := deadline - time.monotonic()) > 0:
                raw.settimeout(left)
                answer = raw.recv(65535)
                header = (answer[0] & 15) * 4
                if answer[header] == _ECHO_REPLY and answer[header + 8 : header + 16] == mark:
                    return True
        except OSError:
            return False  # too long for the interface, unreachable, or nobody answered in time
    return False


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    return (total + (total >> 16)) & 0xFFFF ^ 0xFFFF
