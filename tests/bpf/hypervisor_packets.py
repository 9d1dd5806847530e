"""Build IPv4 packets in Ethernet frames and read them back, with every checksum verified."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

ETHERNET = bytes.fromhex("020000000001 020000000002 0800")
ICMP, IPIP, TCP, UDP = 1, 4, 6, 17
SYN, ACK, SYN_ACK = 0x02, 0x10, 0x12


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071): 0 over data that carries a correct one."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _insert(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + struct.pack("!H", value) + data[offset + 2 :]


def ip(
    source: str | IPv4Address,
    destination: str | IPv4Address,
    protocol: int,
    payload: bytes,
    *,
    tos: int = 0,
    fragment: int = 0,
    options: bytes = b"",
    packet_id: int = 7,
) -> bytes:
    """An IPv4 packet. `fragment` is the whole word of flags and offset; `options` a multiple of 4 bytes."""
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH", 0x40 | words, tos, 4 * words + len(payload), packet_id, fragment, 64, protocol, 0)
    header += IPv4Address(source).packed + IPv4Address(destination).packed + options
    return _insert(header, 10, checksum(header)) + payload


def _pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    return source + destination + struct.pack("!BBH", 0, protocol, length)


@dataclass(frozen=True)
class Ends:
    """Source and destination of a packet."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int

    def reversed(self) -> Ends:
        """The way back."""
        return Ends(self.destination, self.destination_port, self.source, self.source_port)


def tcp(ends: Ends, flags: int = ACK, *, options: bytes = b"", payload: bytes = b"hello") -> bytes:
    """A TCP packet; `options` a multiple of 4 bytes."""
    offset = (5 + len(options) // 4) << 4
    segment = struct.pack("!HHIIBBHHH", ends.source_port, ends.destination_port, 1, 2, offset, flags, 512, 0, 0)
    segment += options + payload
    pseudo = _pseudo(ends.source.packed, ends.destination.packed, TCP, len(segment))
    return ip(ends.source, ends.destination, TCP, _insert(segment, 16, checksum(pseudo + segment)))


def udp(ends: Ends, *, with_checksum: bool = True, payload: bytes = b"hello", fragment: int = 0) -> bytes:
    """A UDP packet."""
    datagram = struct.pack("!HHHH", ends.source_port, ends.destination_port, 8 + len(payload), 0) + payload
    pseudo = _pseudo(ends.source.packed, ends.destination.packed, UDP, len(datagram))
    if with_checksum:
        datagram = _insert(datagram, 6, checksum(pseudo + datagram))
    return ip(ends.source, ends.destination, UDP, datagram, fragment=fragment)


def icmp_error(source: str | IPv4Address, quote: bytes, *, kind: int = 3, code: int = 4) -> bytes:
    """An ICMP error to whoever sent the quoted packet; by default "fragmentation needed", MTU 1400."""
    message = struct.pack("!BBHHH", kind, code, 0, 0, 1400) + quote
    return ip(source, IPv4Address(quote[12:16]), ICMP, _insert(message, 2, checksum(message)))


def tunnelled(instance: IPv4Address, inner: bytes, *, source: str = "10.99.1.2", tos: int = 0) -> bytes:
    """The packet as an LB node sends it."""
    return ip(source, instance, IPIP, inner, tos=tos)


def frame(packet: bytes) -> bytes:
    """The packet in an Ethernet frame."""
    return ETHERNET + packet


@dataclass(frozen=True)
class Packet:
    """An IPv4 packet whose checksums are right."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    tos: int
    payload: bytes

    @property
    def ends(self) -> Ends:
        """Addresses and ports."""
        source_port, destination_port = struct.unpack_from("!HH", self.payload)
        return Ends(self.source, source_port, self.destination, destination_port)

    @property
    def quote(self) -> Packet:
        """What an ICMP error complains about."""
        return read(self.payload[8:], whole=False)


def read(packet: bytes, *, whole: bool = True) -> Packet:
    """Read a packet and assert its checksums; not `whole`: a quote, of which only the IP header can be verified."""
    length = (packet[0] & 15) * 4
    assert checksum(packet[:length]) == 0, "wrong IPv4 checksum"
    found = Packet(IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[9], packet[1], packet[length:])
    if whole and not struct.unpack("!H", packet[6:8])[0] & 0x3FFF:
        _assert_payload_checksum(found)
    return found


def _assert_payload_checksum(packet: Packet) -> None:
    pseudo = _pseudo(packet.source.packed, packet.destination.packed, packet.protocol, len(packet.payload))
    if packet.protocol == ICMP:
        assert checksum(packet.payload) == 0, "wrong ICMP checksum"
    elif packet.protocol == TCP or (packet.protocol == UDP and packet.payload[6:8] != b"\0\0"):
        assert checksum(pseudo + packet.payload) == 0, "wrong TCP or UDP checksum"
