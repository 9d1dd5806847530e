"""The bytes of generic netlink messages about IPVS, for reading: linux/netlink.h, genetlink.h, ip_vs.h. Pure.

By hand, because a library's objects cost a second for a thousand destinations, which is read at every pass; this costs
a few milliseconds. Numbers are in the machine's byte order, but for ports.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

from bascule.dataplanes.ipvs.entries import Destination, Load, VirtualServer
from bascule.model.addresses import IPAddress
from bascule.model.reports import Traffic
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod, ServiceKey

ORDER = sys.byteorder
CONTROL = 16
ERROR, DONE = 2, 3
REQUEST, DUMP = 0x1, 0x300
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
GET_SERVICE, GET_DESTINATION = 4, 8
_SERVICE, _DESTINATION = 1, 2
_NESTED, _KIND = 0x8000, 0x3FFF
_IPV4 = 2
# IP_VS_CONN_F_MASQ, …_LOCALNODE, …_TUNNEL, …_DROUTE
METHODS = {
    ForwardingMethod.TRANSLATION: 0,
    ForwardingMethod.LOCAL: 1,
    ForwardingMethod.TUNNEL: 2,
    ForwardingMethod.DIRECT: 3,
}
_METHOD_NAMES = {number: method for method, number in METHODS.items()}
_METHOD_MASK = 0x7
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
# All that can be asked for; the kernel has more of its own in the same word.
_FLAGS = 0x1 | 0x4 | 0x8 | 0x10 | 0x20

Attributes = Mapping[int, bytes]


def request(kind: int, command: int, flags: int, payload: bytes) -> bytes:
    """A message: struct nlmsghdr, struct genlmsghdr, attributes."""
    return struct.pack("=IHHIIBBH", 20 + len(payload), kind, REQUEST | flags, 1, 0, command, 1, 0) + payload


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def name_of_family(name: str) -> bytes:
    """The attribute that asks for a family."""
    return attribute(FAMILY_NAME, name.encode() + b"\0")


def which_service(key: ServiceKey) -> bytes:
    """The attribute that names one virtual server."""
    return attribute(
        _SERVICE | _NESTED,
        attribute(1, struct.pack("=H", _IPV4))
        + attribute(2, struct.pack("=H", key.protocol.number))
        + attribute(3, key.address.packed + bytes(12))
        + attribute(4, struct.pack(">H", key.port)),
    )


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of a datagram: each one's kind, and what follows struct nlmsghdr."""
    place = 0
    while place + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, place)
        yield kind, data[place + 16 : place + length]
        place += max(length + 3 & ~3, 16)


def attributes(data: bytes) -> dict[int, bytes]:
    """What is in a message or in a nested attribute, by kind."""
    found: dict[int, bytes] = {}
    place, end = 0, len(data)
    while place + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, place)
        found[kind & _KIND] = data[place + 4 : place + length]
        place += max(length + 3 & ~3, 4)
    return found


def parse_server(message: bytes) -> tuple[VirtualServer | None, str, Traffic]:
    """A virtual server without its destinations, its name, its totals. None for IPv6, marks and other protocols."""
    found = attributes(attributes(message[4:])[_SERVICE])
    traffic = _traffic(found)
    if 5 in found:
        return None, f"firewall mark {_number(found[5])}", traffic
    address, protocol, port = _address(_number(found[1]), found[3]), _number(found[2]), _port(found[4])
    if not isinstance(address, IPv4Address) or protocol not in _PROTOCOLS:
        return None, f"protocol {protocol} [{address}]:{port}", traffic
    server = VirtualServer(
        key=ServiceKey(address, _PROTOCOLS[protocol], port),
        scheduler=found[6].rstrip(b"\0").decode(),
        flags=_number(found[7][:4]) & _FLAGS,
        timeout=_number(found[8]),
    )
    return server, str(server), traffic


def parse_destination(message: bytes) -> tuple[Destination, Load]:
    """A destination and what is counted for it."""
    found = attributes(attributes(message[4:])[_DESTINATION])
    destination = Destination(
        address=_address(_number(found[11]) if 11 in found else _IPV4, found[1]),
        port=_port(found[2]),
        method=_METHOD_NAMES.get(_number(found[3]) & _METHOD_MASK, ForwardingMethod.DIRECT),
        weight=_number(found[4]),
    )
    return destination, Load(traffic=_traffic(found), active=_number(found[7]), inactive=_number(found[8]))


def with_destinations(server: VirtualServer, destinations: tuple[Destination, ...]) -> VirtualServer:
    """The same server, complete."""
    return replace(server, destinations=destinations)


def _traffic(found: Attributes) -> Traffic:
    """From IPVS_…_ATTR_STATS64 (Linux 4.1): packets and bytes towards the backends; replies are not always seen."""
    totals = attributes(found[12])
    return Traffic(packets=_number(totals[2]), bytes=_number(totals[4]))


def _number(value: bytes) -> int:
    return int.from_bytes(value, ORDER)


def _port(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _address(family: int, value: bytes) -> IPAddress:
    return ip_address(value[:4] if family == _IPV4 else value)
