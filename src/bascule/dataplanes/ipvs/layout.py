"""The bytes of generic netlink messages about IPVS: linux/netlink.h, genetlink.h, ip_vs.h. Pure.

By hand, because a library's objects cost a second for a thousand destinations, which is read at every pass; this costs
a few milliseconds. And the one library there is has no netmask for IPv6, and sends "delete" for "update". Numbers are
in the machine's byte order, but for ports and IPv4 masks.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, ip_address

from bascule.dataplanes.ipvs.entries import Destination, Load, VirtualServer
from bascule.model.addresses import IPAddress
from bascule.model.reports import Traffic
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod, ServiceKey

ORDER = sys.byteorder
CONTROL = 16
ERROR, DONE = 2, 3
REQUEST, ACKNOWLEDGE, DUMP = 0x1, 0x4, 0x300
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
NEW_SERVICE, SET_SERVICE, DELETE_SERVICE, GET_SERVICE = 1, 2, 3, 4
NEW_DESTINATION, SET_DESTINATION, DELETE_DESTINATION, GET_DESTINATION = 5, 6, 7, 8
SET_CONFIG, GET_CONFIG = 12, 13
_SERVICE, _DESTINATION = 1, 2
_NESTED, _KIND = 0x8000, 0x3FFF
_IPV4, _IPV6 = 2, 10
_EVERY_FLAG = 0xFFFFFFFF
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
    return attribute(_SERVICE | _NESTED, _name(key))


def service(server: VirtualServer) -> bytes:
    """The attribute that says all of a virtual server but its destinations."""
    return attribute(
        _SERVICE | _NESTED,
        _name(server.key)
        + attribute(6, server.scheduler.encode() + b"\0")
        + attribute(7, struct.pack("=II", server.flags, _EVERY_FLAG))
        + attribute(8, struct.pack("=I", server.timeout))
        + attribute(9, _mask(server)),
    )


def destination(to: Destination) -> bytes:
    """The attribute that says all of a destination; no limits on how many connections it takes."""
    return attribute(
        _DESTINATION | _NESTED,
        attribute(1, _packed(to.address))
        + attribute(2, struct.pack(">H", to.port))
        + attribute(3, struct.pack("=I", METHODS[to.method]))
        + attribute(4, struct.pack("=I", to.weight))
        + attribute(5, bytes(4))
        + attribute(6, bytes(4))
        + attribute(11, struct.pack("=H", _family(to.address))),
    )


def timeouts(tcp: int, tcp_fin: int, udp: int) -> bytes:
    """The attributes of a namespace's timeouts, in seconds."""
    return b"".join(attribute(kind, struct.pack("=I", value)) for kind, value in ((4, tcp), (5, tcp_fin), (6, udp)))


def parse_timeouts(message: bytes) -> tuple[int, int, int]:
    """The same from the kernel's answer."""
    found = attributes(message[4:])
    return _number(found[4]), _number(found[5]), _number(found[6])


def _name(key: ServiceKey) -> bytes:
    return (
        attribute(1, struct.pack("=H", _family(key.address)))
        + attribute(2, struct.pack("=H", key.protocol.number))
        + attribute(3, _packed(key.address))
        + attribute(4, struct.pack(">H", key.port))
    )


def _family(address: IPAddress) -> int:
    return _IPV4 if address.version == 4 else _IPV6


def _packed(address: IPAddress) -> bytes:
    """As union nf_inet_addr, 16 bytes."""
    return address.packed.ljust(16, b"\0")


def _mask(server: VirtualServer) -> bytes:
    """A mask of IPv4, but a length for IPv6 (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_add_service)."""
    if server.key.address.version == 4:
        return IPv4Network((0, server.client_bits)).netmask.packed
    return struct.pack("=I", server.client_bits)


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
    """A virtual server without its destinations, its name, its totals. None for marks and other protocols."""
    found = attributes(attributes(message[4:])[_SERVICE])
    traffic = _traffic(found)
    if 5 in found:
        return None, f"firewall mark {_number(found[5])}", traffic
    address, protocol, port = _address(_number(found[1]), found[3]), _number(found[2]), _port(found[4])
    if protocol not in _PROTOCOLS:
        return None, f"protocol {protocol} [{address}]:{port}", traffic
    server = VirtualServer(
        key=ServiceKey(address, _PROTOCOLS[protocol], port),
        scheduler=found[6].rstrip(b"\0").decode(),
        flags=_number(found[7][:4]) & _FLAGS,
        timeout=_number(found[8]),
        prefix_length=_bits(address, found[9]),
    )
    return server, str(server), traffic


def parse_destination(message: bytes) -> tuple[Destination, Load]:
    """A destination and what is counted for it."""
    found = attributes(attributes(message[4:])[_DESTINATION])
    to = Destination(
        address=_address(_number(found[11]) if 11 in found else _IPV4, found[1]),
        port=_port(found[2]),
        method=_METHOD_NAMES.get(_number(found[3]) & _METHOD_MASK, ForwardingMethod.DIRECT),
        weight=_number(found[4]),
    )
    return to, Load(traffic=_traffic(found), active=_number(found[7]), inactive=_number(found[8]))


def with_destinations(server: VirtualServer, destinations: tuple[Destination, ...]) -> VirtualServer:
    """The same server, complete."""
    return replace(server, destinations=destinations)


def _traffic(found: Attributes) -> Traffic:
    """From IPVS_…_ATTR_STATS64 (Linux 4.1): packets and bytes towards the backends; replies are not always seen."""
    totals = attributes(found[12])
    return Traffic(packets=_number(totals[2]), bytes=_number(totals[4]))


def _bits(address: IPAddress, mask: bytes) -> int:
    return _number(mask) if address.version == 6 else int.from_bytes(mask).bit_count()


def _number(value: bytes) -> int:
    return int.from_bytes(value, ORDER)


def _port(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _address(family: int, value: bytes) -> IPAddress:
    return ip_address(value[:4] if family == _IPV4 else value)
