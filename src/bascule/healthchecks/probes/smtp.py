"""Does a mail server greet, and accept our name (RFC 5321, 4.2)? No mail is sent, and no STARTTLS is tried.

Spoken on plain streams: replies are read a line at a time within bounds, whatever the server sends, and a check that is
cancelled holds neither a thread nor a connection.
"""

from __future__ import annotations

import asyncio
import re
import socket

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.probes.words import reason_of
from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck

LINE_MAX = 2048  # bytes; RFC 5321 promises 512
LINES_MAX = 100  # of one reply
_REPLY = re.compile(rb"([2-5][0-9]{2})([ -]?)(.*)", re.DOTALL)


class SmtpProbe:
    """Reads the banner (220), says HELO (250), and leaves with QUIT."""

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Healthy when the server takes our HELO."""
        try:
            reader, writer = await asyncio.open_connection(str(address), health_check.port, limit=LINE_MAX)
        except OSError as error:
            return ProbeResult(False, reason_of(error))
        try:
            return await _converse(reader, writer, health_check.smtp_helo or socket.gethostname())
        except (OSError, EOFError, ValueError) as error:
            return ProbeResult(False, reason_of(error))
        finally:
            writer.transport.abort()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> ProbeResult:
    code, text = await _reply(reader)
    if code != 220:
        return ProbeResult(False, f"banner: {code} {text}")
    writer.write(f"HELO {name}\r\n".encode("ascii", "replace"))
    code, text = await _reply(reader)
    if code != 250:
        return ProbeResult(False, f"HELO: {code} {text}")
    # A polite end, so that the server's log does not fill with lost connections.
    writer.write(b"QUIT\r\n")
    await _reply(reader)
    return ProbeResult(True, f"HELO: {code} {text}")


async def _reply(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The code and the last line's text. Raises EOFError, OSError, or ValueError for what is no reply."""
    for _ in range(LINES_MAX):
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the server hung up")
        found = _REPLY.fullmatch(line.rstrip(b"\r\n"))
        if found is None:
            raise ValueError("the server does not speak SMTP")
        if found[2] != b"-":
            text = found[3].decode("ascii", "replace")
            return int(found[1]), "".join(each if each.isprintable() else "?" for each in text)[:200]
    raise ValueError(f"the server's reply is over {LINES_MAX} lines")
