"""IPVS's generic netlink socket, in the calling thread's network namespace.

Our own (`layout.py` says why), and for one more reason: pyroute2's is never closed when the kernel has no IPVS, and an
agent that tries again every second would lose a handful of file descriptors each time.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from bascule.dataplanes.ipvs import layout
from bascule.model.errors import SystemFailure

_NETLINK_GENERIC = 16
# A module that is loaded on the way takes its time.
_PATIENCE = 10.0
_LARGEST = 65536
_MISSING = (
    "This kernel has no IPVS: load it with `modprobe ip_vs`. Debian has it in linux-image-amd64, but not in"
    " linux-image-cloud-amd64."
)


class Refused(Exception):
    """The kernel answered with an errno, `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.code = code


class Ipvs:
    """One question at a time."""

    def __init__(self, netlink: socket.socket, family: int) -> None:
        self._netlink = netlink
        self._family = family

    def dump(self, command: int, payload: bytes = b"") -> Iterator[bytes]:
        """Each message of a list. Raises Refused."""
        self._send(command, layout.DUMP, payload)
        while True:
            for kind, body in self._receive():
                if kind == layout.DONE:
                    return
                yield body

    def ask(self, command: int) -> bytes:
        """The one message of an answer. Raises Refused."""
        self._send(command, 0, b"")
        ((_, body),) = self._receive()
        return body

    def tell(self, command: int, payload: bytes) -> None:
        """Have the kernel do something. Raises Refused."""
        self._send(command, layout.ACKNOWLEDGE, payload)
        for _ in self._receive():
            return

    def _send(self, command: int, flags: int, payload: bytes) -> None:
        self._netlink.send(layout.request(self._family, command, flags, payload))

    def _receive(self) -> list[tuple[int, bytes]]:
        """An error's body begins with the negative errno; 0 is an acknowledgement."""
        found = list(layout.messages(self._netlink.recv(_LARGEST)))
        for kind, body in found:
            if kind == layout.ERROR and (code := -int.from_bytes(body[:4], layout.ORDER, signed=True)):
                raise Refused(code)
        return found


@contextmanager
def connect(purpose: str) -> Iterator[Ipvs]:
    """A socket of IPVS: asking for its family loads the module where there is one.

    Raises SystemFailure, also for what is done with it meanwhile; `purpose` completes "IPVS cannot …".
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as netlink:
            netlink.bind((0, 0))
            netlink.settimeout(_PATIENCE)
            yield Ipvs(netlink, _family(netlink))
    except Refused as refusal:
        if refusal.code == errno.EPERM:
            raise SystemFailure("The kernel lets only root (CAP_NET_ADMIN) use IPVS: run as root.") from refusal
        raise SystemFailure(f"IPVS cannot {purpose}: {refusal}.") from refusal
    except OSError as error:
        raise SystemFailure(f"IPVS cannot {purpose}: {error}. Run as root.") from error


def _family(netlink: socket.socket) -> int:
    """The number of IPVS's family in this kernel."""
    netlink.send(layout.request(layout.CONTROL, layout.GET_FAMILY, 0, layout.name_of_family("IPVS")))
    ((kind, body),) = layout.messages(netlink.recv(_LARGEST))
    if kind == layout.ERROR:
        code = -int.from_bytes(body[:4], layout.ORDER, signed=True)
        raise SystemFailure(_MISSING) if code == errno.ENOENT else Refused(code)
    return int.from_bytes(layout.attributes(body[4:])[layout.FAMILY_ID], layout.ORDER)
