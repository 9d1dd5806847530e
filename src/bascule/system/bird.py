"""A client of BIRD's control socket, and a reader of its answers.

The protocol (BIRD's documentation, "Remote control"): each line starts with a four-digit code, then `-` when more
lines follow or a space in the last one; a line that starts with a space continues the code before it. Codes starting
with 8 and 9 are refusals.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure

_SOCKET_PATH_MAX = 107  # sun_path of unix(7), less its final zero
_PROTOCOL = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*(.*)")
_DETAIL = re.compile(r"\s+([^:]+):\s+(.*)")
_BFD_UP = re.compile(r"([0-9a-f.:]+)\s+\S+\s+Up\s.*")


@dataclass(frozen=True, slots=True)
class BirdProtocol:
    """One protocol of `show protocols all`. `details` are its `Name: value` lines, first wins."""

    name: str
    kind: str
    state: str
    since: str
    info: str
    details: dict[str, str] = field(default_factory=dict)


class BirdSocket:
    """Asks a running BIRD. Every question opens a connection of its own: there is nothing to keep in step."""

    def __init__(self, path: Path, timeout: float = 2.0) -> None:
        """`timeout` is seconds for each read. Raises SystemFailure when the path is too long for a socket."""
        if len(str(path)) > _SOCKET_PATH_MAX:
            raise SystemFailure(f"{path} is too long for a socket (107 characters): choose a shorter run directory.")
        self._path = path
        self._timeout = timeout

    def alive(self) -> bool:
        """Whether a daemon accepts connections on the socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self._path)) == 0

    def ask(self, command: str) -> tuple[str, ...]:
        """Send one command, return the lines of the answer without codes. Raises SystemFailure with BIRD's words."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self._timeout)
                connection.connect(str(self._path))
                with connection.makefile("r", encoding="utf-8", errors="replace") as lines:
                    _answer(lines)  # its greeting
                    connection.sendall(f"{command}\n".encode())
                    code, answer = _answer(lines)
        except OSError as error:
            raise SystemFailure(f"BIRD does not answer `{command}` on {self._path}: {error}. Is it running?") from error
        if code[:1] in ("8", "9", ""):
            raise SystemFailure(f"BIRD refused `{command}`: {' '.join(answer).strip() or 'the connection ended'}")
        return answer

    def protocols(self) -> tuple[BirdProtocol, ...]:
        """What `show protocols all` tells."""
        return read_protocols(self.ask("show protocols all"))

    def bfd_neighbors(self) -> frozenset[IPAddress]:
        """The neighbors whose BFD session is up, of `show bfd sessions`."""
        return read_bfd_neighbors(self.ask("show bfd sessions"))


def _answer(lines: Iterator[str]) -> tuple[str, tuple[str, ...]]:
    """Read one answer: its final code ("" when the connection ended before) and its text."""
    texts: list[str] = []
    for raw in lines:
        line = raw.rstrip("\n")
        if line.startswith((" ", "+")):
            texts.append(line[1:])
            continue
        texts.append(line[5:])
        if line[4:5] != "-":
            return line[:4], tuple(texts)
    return "", tuple(texts)


def read_protocols(lines: tuple[str, ...]) -> tuple[BirdProtocol, ...]:
    """Parse the answer to `show protocols all`; lines nobody knows are passed over."""
    found: list[BirdProtocol] = []
    for line in lines:
        if heading := _PROTOCOL.fullmatch(line):
            if line.startswith("Name "):
                continue
            name, kind, _table, state, since, info = heading.groups()
            found.append(BirdProtocol(name, kind, state, since, info.strip()))
        elif found and (detail := _DETAIL.fullmatch(line)):
            found[-1].details.setdefault(detail[1].strip(), detail[2].strip())
    return tuple(found)


def read_bfd_neighbors(lines: tuple[str, ...]) -> frozenset[IPAddress]:
    """Parse the answer to `show bfd sessions`: address, interface, state, since, interval, timeout."""
    return frozenset(ip_address(found[1]) for line in lines if (found := _BFD_UP.fullmatch(line)))
