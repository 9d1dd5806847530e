"""Does something listen on a UDP port, and answer as expected?

keepalived's UDP_CHECK: a datagram is sent; an ICMP error is a failure. Without a required answer silence is health,
since UDP owes none; it is listened for the time an ICMP error may take.
"""

from __future__ import annotations

import asyncio

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.datagrams import Conversation, sent
from bascule.healthchecks.probes.words import reason_of
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck

PAYLOAD = b"bascule-health-check"
LISTEN_MOST = 1.0  # seconds; and never more than half of the check's timeout


class UdpProbe:
    """Sends one datagram."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Healthy when the required answer comes, or when no ICMP error does."""
        payload = bytes.fromhex(health_check.udp_payload) if health_check.udp_payload else PAYLOAD
        try:
            async with sent(address, health_check.port, payload) as conversation:
                if health_check.udp_reply is None:
                    return await _unrefused(conversation, min(LISTEN_MOST, health_check.timeout / 2))
                return _expected(await conversation.answer(), bytes.fromhex(health_check.udp_reply))
        except OSError as error:
            return ProbeResult(False, reason_of(error))


async def _unrefused(conversation: Conversation, seconds: float) -> ProbeResult:
    try:
        async with asyncio.timeout(seconds):
            answer = await conversation.answer()
    except TimeoutError:
        return ProbeResult(True, "sent, and not refused")
    return ProbeResult(True, f"{len(answer)} bytes of answer")


def _expected(answer: bytes, begin: bytes) -> ProbeResult:
    if not answer.startswith(begin):
        return ProbeResult(False, f"{len(answer)} bytes of another answer: they begin with {answer[:16].hex()}")
    return ProbeResult(True, f"{len(answer)} bytes of answer")
