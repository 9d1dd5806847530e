"""Build IPv4 and IPv6 packets in Ethernet frames and read them back, with every checksum verified."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from bascule.model.addresses import IPAddress

ETHERNET = bytes.fromhex("020000000001 020000000002 0800")
ICMP, IPIP, TCP, UDP, IPV6, ROUTING, FRAGMENT, ICMPV6, OPTIONS = 1, 4, 6, 17, 41, 43, 44, 58, 60
SYN, ACK, SYN_ACK = 0x02, 0x10, 0x12
FIN, RST = 0x01, 0x04
FLOW_LABEL = 0x12345


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
    source: str | IPAddress,
    destination: str | IPAddress,
    protocol: int,
    payload: bytes,
    *,
    tos: int = 0,
    fragment: int = 0,
    options: bytes = b"",
    packet_id: int = 7,
) -> bytes:
    """An IP packet of its addresses' family.

    `fragment` is the whole word of flags and offset as IPv4 has it; `options` a multiple of 4 bytes, of IPv6 (whose
    padding is then put around them) as many as you like.
    """
    source, destination = ip_address(str(source)), ip_address(str(destination))
    if isinstance(source, IPv6Address):
        protocol, payload = _extended(protocol, payload, fragment, options, packet_id)
        return _ip6(source, IPv6Address(destination), protocol, payload, tos)
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH", 0x40 | words, tos, 4 * words + len(payload), packet_id, fragment, 64, protocol, 0)
    header += source.packed + destination.packed + options
    return _insert(header, 10, checksum(header)) + payload


def _ip6(source: IPv6Address, destination: IPv6Address, protocol: int, payload: bytes, tos: int) -> bytes:
    header = struct.pack("!IHBB", 6 << 28 | tos << 20 | FLOW_LABEL, len(payload), protocol, 64)
    return header + source.packed + destination.packed + payload


def _extended(protocol: int, payload: bytes, fragment: int, options: bytes, packet_id: int) -> tuple[int, bytes]:
    """Put extension headers (RFC 8200) in front of the payload; returns the first one's protocol with it all."""
    if fragment:
        word = (fragment & 0x1FFF) << 3 | bool(fragment & 0x2000)
        protocol, payload = FRAGMENT, struct.pack("!BBHI", protocol, 0, word, packet_id) + payload
    if options:
        padding = -(2 + len(options)) % 8
        padded = options + (b"\1" + bytes([padding - 2]) + bytes(padding - 2) if padding > 1 else bytes(padding))
        length = (2 + len(padded)) // 8 - 1
        protocol, payload = OPTIONS, bytes([protocol, length]) + padded + payload
    return protocol, payload


def icmp_of(address: str | IPAddress) -> int:
    """The protocol ICMP has in the address's family."""
    return ICMP if ip_address(str(address)).version == 4 else ICMPV6


def _pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    if len(source) == 16:
        return source + destination + struct.pack("!II", length, protocol)
    return source + destination + struct.pack("!BBH", 0, protocol, length)


@dataclass(frozen=True)
class Ends:
    """Source and destination of a packet."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int

    def reversed(self) -> Ends:
        """The way back."""
        return Ends(self.destination, self.destination_port, self.source, self.source_port)


def tcp(ends: Ends, flags: int = ACK, *, sequence: int = 1, options: bytes = b"", payload: bytes = b"hello") -> bytes:
    """A TCP packet; `options` a multiple of 4 bytes."""
    offset = (5 + len(options) // 4) << 4
    segment = struct.pack("!HHIIBBHHH", ends.source_port, ends.destination_port, sequence, 2, offset, flags, 512, 0, 0)
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


def icmp_error(source: str | IPAddress, quote: bytes, *, kind: int | None = None, code: int = 4) -> bytes:
    """An ICMP error to whoever sent the quoted packet; by default "fragmentation needed" or "too big", MTU 1400."""
    if quote[0] >> 4 == 6:
        return icmp6(source, IPv6Address(quote[8:24]), kind or 2, struct.pack("!I", 1400) + quote)
    message = struct.pack("!BBHHH", kind or 3, code, 0, 0, 1400) + quote
    return ip(source, IPv4Address(quote[12:16]), ICMP, _insert(message, 2, checksum(message)))


def icmp6(source: str | IPAddress, destination: str | IPAddress, kind: int, body: bytes) -> bytes:
    """An ICMPv6 message, `body` being what follows the checksum (RFC 4443)."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = _pseudo(IPv6Address(str(source)).packed, IPv6Address(str(destination)).packed, ICMPV6, len(message))
    return ip(source, destination, ICMPV6, _insert(message, 2, checksum(pseudo + message)))


def dont_fragment(packet: bytes) -> bytes:
    """The IPv4 packet with DF set."""
    header = packet[:6] + b"\x40\x00" + packet[8:10] + b"\0\0" + packet[12:20]
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + packet[20:]


def tunnelled(instance: IPAddress, inner: bytes, *, source: str | None = None, tos: int = 0) -> bytes:
    """The packet as an LB node sends it."""
    if instance.version == 6:
        return ip(source or "2001:db8:99::1:2", instance, IPV6, inner, tos=tos)
    return ip(source or "10.99.1.2", instance, IPIP, inner, tos=tos)


def tunnelled_twice(first: IPAddress, second: IPAddress, inner: bytes) -> bytes:
    """The packet as an LB node sends it that does not know which of two instances has its flow."""
    return tunnelled(first, tunnelled(second, inner))


def frame(packet: bytes, *, version: int | None = None) -> bytes:
    """The packet in an Ethernet frame: of IPv6 if that is what it begins like, else of IPv4, unless told otherwise."""
    if version is None:
        version = packet[0] >> 4 if packet else 4
    return (ETHERNET[:12] + b"\x86\xdd" if version == 6 else ETHERNET) + packet


@dataclass(frozen=True)
class Packet:
    """An IP packet whose checksums are right. IPv4 has no flow label: 0."""

    source: IPAddress
    destination: IPAddress
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
        """What an ICMP error complains about."""
        return read(self.payload[8:], whole=False)


def read(packet: bytes, *, whole: bool = True) -> Packet:
    """Read a packet and assert its checksums; not `whole`: a quote, of which only the IP header can be verified.

    Of an IPv6 packet the extension headers are left out.
    """
    if packet[0] >> 4 == 6:
        return _read6(packet, whole=whole)
    length = (packet[0] & 15) * 4
    assert checksum(packet[:length]) == 0, "wrong IPv4 checksum"
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    found = Packet(source, destination, packet[9], packet[1], 0, packet[8], packet[length:])
    if whole and not struct.unpack("!H", packet[6:8])[0] & 0x3FFF:
        _assert_payload_checksum(found)
    return found


def _read6(packet: bytes, *, whole: bool) -> Packet:
    first, length, protocol, hop_limit = struct.unpack_from("!IHBB", packet)
    payload = packet[40:]
    assert not whole or length == len(payload), "wrong IPv6 length"
    while protocol in (OPTIONS, FRAGMENT):
        whole = whole and protocol != FRAGMENT
        size = 8 if protocol == FRAGMENT else 8 * (payload[1] + 1)
        protocol, payload = payload[0], payload[size:]
    source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    found = Packet(source, destination, protocol, first >> 20 & 0xFF, first & 0xFFFFF, hop_limit, payload)
    if whole:
        _assert_payload_checksum(found)
    return found


def _assert_payload_checksum(packet: Packet) -> None:
    pseudo = _pseudo(packet.source.packed, packet.destination.packed, packet.protocol, len(packet.payload))
    if packet.protocol == ICMP:
        assert checksum(packet.payload) == 0, "wrong ICMP checksum"
    elif packet.protocol in (TCP, ICMPV6) or (packet.protocol == UDP and packet.payload[6:8] != b"\0\0"):
        assert checksum(pseudo + packet.payload) == 0, "wrong TCP, UDP or ICMPv6 checksum"
