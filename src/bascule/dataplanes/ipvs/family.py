"""Asks the kernel whether it speaks of IPVS, which loads the module where there is one.

By hand, because pyroute2's socket for a family that is missing is never closed: an agent that tries again every second
would lose a handful of file descriptors each time.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from bascule.model.errors import SystemFailure

# linux/netlink.h and genetlink.h
_NETLINK_GENERIC = 16
_CONTROL = 16
_REQUEST = 1
_ERROR = 2
_GET_FAMILY, _FAMILY_NAME = 3, 2
_MISSING = (
    "This kernel has no IPVS: load it with `modprobe ip_vs`. Debian has it in linux-image-amd64, but not in"
    " linux-image-cloud-amd64."
)


def require() -> None:
    """Raises SystemFailure that says how to get IPVS when it is missing."""
    name = b"IPVS\0\0\0\0"
    body = struct.pack("=BBHHH", _GET_FAMILY, 1, 0, 4 + 5, _FAMILY_NAME) + name
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as netlink:
        netlink.bind((0, 0))
        # A module that is loaded on the way takes its time.
        netlink.settimeout(10)
        netlink.send(struct.pack("=IHHII", 16 + len(body), _CONTROL, _REQUEST, 1, 0) + body)
        answer = netlink.recv(8192)
    # After struct nlmsghdr, whose type is at 4, comes the negative errno of an error.
    kind, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    if kind != _ERROR:
        return
    if -code == errno.ENOENT:
        raise SystemFailure(_MISSING)
    raise SystemFailure(f"The kernel does not say whether it has IPVS: {os.strerror(-code)}.")
