"""Tell somebody when links, routes or neighbours change: a thread on a netlink socket.

The messages are not parsed beyond their type: whoever is told reads the kernel's tables anew. So a socket that
overflowed is nothing special, it is one more reason to read them.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable

# linux/rtnetlink.h
_GROUPS = 0x1 | 0x4 | 0x40 | 0x400  # link, neighbour, IPv4 route, IPv6 route
_NEIGHBOUR_MESSAGES = frozenset({28, 29})  # RTM_NEWNEIGH, RTM_DELNEIGH
_HEADER = struct.Struct("=IHHII")
_BUFFER = 1 << 20


class RouteWatch:
    """Calls `changed(routes)` from a thread of its own; `routes` is False when only neighbours have changed.

    It watches the network namespace of the thread that made it. `changed` must not raise.
    """

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self._changed = changed
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((0, _GROUPS))
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._run, name="route-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        os.write(self._stopper, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._stop)
        os.close(self._stopper)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._stop], [], [])
            if self._stop in ready:
                return
            self._changed(not self._drain() <= _NEIGHBOUR_MESSAGES)

    def _drain(self) -> set[int]:
        """The types of all messages that wait; 0 stands for those that were lost."""
        types = set()
        while True:
            try:
                types |= _types(self._socket.recv(_BUFFER))
            except BlockingIOError:
                return types
            except OSError:
                types.add(0)


def _types(data: bytes) -> set[int]:
    types, offset = set(), 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        types.add(kind)
        offset += max(_HEADER.size, (length + 3) & ~3)
    return types
