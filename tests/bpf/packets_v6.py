"""Build IPv6 packets in Ethernet frames and read them back, with every checksum verified."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from tests.bpf.hypervisor_packets import ACK, checksum

ETHERNET = bytes.fromhex("020000000001 020000000002 86dd")
TCP, UDP, ICMP, IPV6 = 6, 17, 58, 41


@dataclass(frozen=True)
class Ends:
    """Source and destination of a packet."""

    source: IPv6Address
    source_port: int
    destination: IPv6Address
    destination_port: int

    def reversed(self) -> Ends:
        """The way back."""
        return Ends(self.destination, self.destination_port, self.source, self.source_port)


def ip(
    source: str | IPv6Address, destination: str | IPv6Address, protocol: int, payload: bytes, *, tos: int = 0
) -> bytes:
    """An IPv6 packet; `payload` begins with extension headers, if there are any."""
    header = struct.pack("!IHBB", 6 << 28 | tos << 20 | 0x12345, len(payload), protocol, 64)
    return header + IPv6Address(source).packed + IPv6Address(destination).packed + payload


def _covered(source: IPv6Address, destination: IPv6Address, protocol: int, payload: bytes) -> bytes:
    """The pseudo header (RFC 8200, section 8.1) and what follows it."""
    return source.packed + destination.packed + struct.pack("!II", len(payload), protocol) + payload


def _with_checksum(
    source: IPv6Address, destination: IPv6Address, protocol: int, payload: bytes, offset: int, *, tos: int = 0
) -> bytes:
    found = checksum(_covered(source, destination, protocol, payload))
    whole = payload[:offset] + struct.pack("!H", found) + payload[offset + 2 :]
    return ip(source, destination, protocol, whole, tos=tos)


def tcp(ends: Ends, flags: int = ACK, *, payload: bytes = b"hello", tos: int = 0) -> bytes:
    """A TCP packet."""
    segment = struct.pack("!HHIIBBHHH", ends.source_port, ends.destination_port, 1, 2, 5 << 4, flags, 512, 0, 0)
    return _with_checksum(ends.source, ends.destination, TCP, segment + payload, 16, tos=tos)


def udp(ends: Ends, *, payload: bytes = b"hello") -> bytes:
    """A UDP packet."""
    datagram = struct.pack("!HHHH", ends.source_port, ends.destination_port, 8 + len(payload), 0) + payload
    return _with_checksum(ends.source, ends.destination, UDP, datagram, 6)


def icmp_error(source: str | IPv6Address, quote: bytes, *, kind: int = 2, code: int = 0) -> bytes:
    """An ICMPv6 error to whoever sent the quoted packet; by default "packet too big", MTU 1400."""
    message = struct.pack("!BBHI", kind, code, 0, 1400) + quote
    return _with_checksum(IPv6Address(source), IPv6Address(quote[8:24]), ICMP, message, 2)


def frame(packet: bytes) -> bytes:
    """The packet in an Ethernet frame."""
    return ETHERNET + packet


@dataclass(frozen=True)
class Packet:
    """An IPv6 packet without extension headers whose checksum is right."""

    source: IPv6Address
    destination: IPv6Address
    protocol: int
    tos: int
    label: int
    hop_limit: int
    payload: bytes

    @property
    def ends(self) -> Ends:
        """Addresses and ports."""
        source_port, destination_port = struct.unpack_from("!HH", self.payload)
        return Ends(self.source, source_port, self.destination, destination_port)

    @property
    def quote(self) -> Packet:
        """What an ICMPv6 error complains about."""
        return read(self.payload[8:], whole=False)


def read(packet: bytes, *, whole: bool = True) -> Packet:
    """Read a packet and assert its length and checksum; not `whole`: a quote, of which the end is missing."""
    first, length, protocol, hop_limit = struct.unpack_from("!IHBB", packet)
    assert first >> 28 == 6, "no IPv6 packet"
    source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    payload = packet[40:]
    if whole:
        assert len(payload) == length, "wrong payload length"
    if whole and protocol in (TCP, UDP, ICMP):
        assert checksum(_covered(source, destination, protocol, payload)) == 0, "wrong checksum"
    return Packet(source, destination, protocol, first >> 20 & 0xFF, first & 0xFFFFF, hop_limit, payload)
