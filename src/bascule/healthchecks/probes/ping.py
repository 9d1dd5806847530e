"""Does the machine answer an ICMP echo request (RFC 792; for IPv6 RFC 4443, 4.1)?"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from dataclasses import dataclass

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.words import reason_of
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_READ = 2048  # bytes


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between the families."""

    family: socket.AddressFamily
    protocol: int
    request: int
    reply: int


_KINDS = {
    4: _Kind(socket.AF_INET, socket.IPPROTO_ICMP, 8, 0),
    6: _Kind(socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129),
}


class PingProbe:
    """Sends one request. Needs `net.ipv4.ping_group_range` (which is for IPv6 too) or CAP_NET_RAW."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:  # noqa: ARG002  the interface's
        """Healthy when our own request comes back."""
        # The kernel chooses the identifier of a ping socket, so that the answer is known by what no other ping has.
        nonce, kind = secrets.token_bytes(16), _KINDS[address.version]
        try:
            with _socket(kind) as opened:
                opened.connect((str(address), 0))
                opened.send(_request(kind, nonce))
                await _echoed(opened, kind, nonce)
        except OSError as error:
            return ProbeResult(False, reason_of(error))
        return ProbeResult(True, "echoed")


def _socket(kind: _Kind) -> socket.socket:
    """A ping socket, or a raw one where those are not allowed. Raises PermissionError when neither is."""
    try:
        return socket.socket(kind.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, kind.protocol)
    except PermissionError:
        return socket.socket(kind.family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, kind.protocol)


def _request(kind: _Kind, nonce: bytes) -> bytes:
    """The checksum of ICMPv6 covers the IP addresses too: the kernel always writes it, over ours."""
    identifier = int.from_bytes(nonce[:2])
    unsummed = _HEADER.pack(kind.request, 0, 0, identifier, 1) + nonce
    return _HEADER.pack(kind.request, 0, _checksum(unsummed), identifier, 1) + nonce


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(int.from_bytes(data[place : place + 2]) for place in range(0, len(data), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


async def _echoed(opened: socket.socket, kind: _Kind, nonce: bytes) -> None:
    loop = asyncio.get_running_loop()
    headed = opened.type == socket.SOCK_RAW and kind.family is socket.AF_INET
    while True:
        packet = await loop.sock_recv(opened, _READ)
        # A raw socket of IPv4 gives the IP header too, whose length is in its first byte.
        message = packet[(packet[0] & 0x0F) * 4 :] if headed else packet
        if message[:1] == bytes([kind.reply]) and message[_HEADER.size :] == nonce:
            return
