"""Reads IPVS's table, in the calling thread's network namespace.

The socket is our own (`layout.py` says why), and for one more reason: pyroute2's is never closed when the kernel has no
IPVS, and an agent that tries again every second would lose a handful of file descriptors each time.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Set
from contextlib import contextmanager

from bascule.dataplanes.ipvs import layout
from bascule.dataplanes.ipvs.entries import Found
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure

_NETLINK_GENERIC = 16
# A module that is loaded on the way takes its time.
_PATIENCE = 10.0
_LARGEST = 65536
_MISSING = (
    "This kernel has no IPVS: load it with `modprobe ip_vs`. Debian has it in linux-image-amd64, but not in"
    " linux-image-cloud-amd64."
)


def require() -> None:
    """Load IPVS. Raises SystemFailure that says how to get it when it is missing."""
    with _connect():
        pass


def read(ours: Set[IPAddress]) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """The virtual servers of these addresses with their destinations, and the names of all others."""
    found: list[Found] = []
    others: list[str] = []
    with _connect() as (netlink, family):
        for message in list(_dump(netlink, family, layout.GET_SERVICE, b"")):
            server, name, traffic = layout.parse_server(message)
            if server is None or server.key.address not in ours:
                others.append(name)
                continue
            dump = _dump(netlink, family, layout.GET_DESTINATION, layout.which_service(server.key))
            pairs = [layout.parse_destination(each) for each in dump]
            server = layout.with_destinations(server, tuple(destination for destination, _ in pairs))
            found.append(Found(server=server, traffic=traffic, loads=tuple(load for _, load in pairs)))
    return tuple(found), tuple(others)


@contextmanager
def _connect() -> Iterator[tuple[socket.socket, int]]:
    """A socket, and the number of IPVS's family: asking for it loads the module where there is one."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as netlink:
            netlink.bind((0, 0))
            netlink.settimeout(_PATIENCE)
            netlink.send(layout.request(layout.CONTROL, layout.GET_FAMILY, 0, layout.name_of_family("IPVS")))
            ((kind, body),) = layout.messages(netlink.recv(_LARGEST))
            if kind == layout.ERROR:
                raise _refused(body)
            family = layout.attributes(body[4:])[layout.FAMILY_ID]
            yield netlink, int.from_bytes(family, layout.ORDER)
    except OSError as error:
        raise SystemFailure(f"IPVS cannot be read by netlink: {error}. Run as root.") from error


def _dump(netlink: socket.socket, family: int, command: int, payload: bytes) -> Iterator[bytes]:
    netlink.send(layout.request(family, command, layout.DUMP, payload))
    while True:
        for kind, body in layout.messages(netlink.recv(_LARGEST)):
            if kind == layout.DONE:
                return
            if kind == layout.ERROR:
                raise _refused(body)
            yield body


def _refused(body: bytes) -> SystemFailure:
    """An error's body begins with the negative errno."""
    code = -int.from_bytes(body[:4], layout.ORDER, signed=True)
    return SystemFailure(_MISSING if code == errno.ENOENT else f"IPVS refuses to be read: {os.strerror(code)}.")
