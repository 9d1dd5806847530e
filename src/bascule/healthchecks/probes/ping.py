"""Does the machine answer an ICMP echo request (RFC 792)?"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.words import reason_of
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_REQUEST, _REPLY = 8, 0
_READ = 2048  # bytes


class PingProbe:
    """Sends one request. Needs `net.ipv4.ping_group_range` or CAP_NET_RAW."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:  # noqa: ARG002  the interface's
        """Healthy when our own request comes back."""
        # The kernel chooses the identifier of a ping socket, so that the answer is known by what no other ping has.
        nonce = secrets.token_bytes(16)
        try:
            kind, opened = _socket()
            with opened:
                opened.connect((str(address), 0))
                opened.send(_request(nonce))
                await _echoed(opened, kind, nonce)
        except OSError as error:
            return ProbeResult(False, reason_of(error))
        return ProbeResult(True, "echoed")


def _socket() -> tuple[int, socket.socket]:
    """A ping socket, or a raw one where those are not allowed. Raises PermissionError when neither is."""
    try:
        return socket.SOCK_DGRAM, socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP
        )
    except PermissionError:
        return socket.SOCK_RAW, socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP
        )


def _request(nonce: bytes) -> bytes:
    unsummed = _HEADER.pack(_REQUEST, 0, 0, int.from_bytes(nonce[:2]), 1) + nonce
    return _HEADER.pack(_REQUEST, 0, _checksum(unsummed), int.from_bytes(nonce[:2]), 1) + nonce


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(int.from_bytes(data[place : place + 2]) for place in range(0, len(data), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


async def _echoed(opened: socket.socket, kind: int, nonce: bytes) -> None:
    loop = asyncio.get_running_loop()
    while True:
        packet = await loop.sock_recv(opened, _READ)
        # A raw socket gives the IP header too, whose length is in its first byte.
        message = packet[(packet[0] & 0x0F) * 4 :] if kind == socket.SOCK_RAW else packet
        if message[:1] == bytes([_REPLY]) and message[_HEADER.size :] == nonce:
            return
