"""Writes IPVS's entries by generic netlink, in the calling thread's network namespace.

A trap of pyroute2 0.9: its command "update" sends the kernel's *delete*; "set" is the change.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2.ipvs import IPVS, IPVSDest, IPVSService
from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.ipvs import layout, reading
from bascule.dataplanes.ipvs.diff import Change
from bascule.dataplanes.ipvs.entries import Destination, VirtualServer
from bascule.model.errors import SystemFailure

_EVERYTHING = 0xFFFFFFFF


@contextmanager
def connect() -> Iterator[Any]:
    """A netlink socket of IPVS. Raises SystemFailure, also for what is done with it meanwhile."""
    reading.require()
    try:
        with IPVS() as netlink:
            yield netlink
    except NetlinkError as error:
        raise SystemFailure(_explain(error)) from error
    except OSError as error:
        raise SystemFailure(f"IPVS cannot be reached by netlink: {error}. Run as root.") from error


def _explain(error: NetlinkError) -> str:
    if error.code == errno.EPERM:
        return "The kernel lets only root (CAP_NET_ADMIN) change IPVS: run as root."
    return f"IPVS refused a request: {error}."


def apply(netlink: Any, change: Change) -> None:
    """One change. Raises SystemFailure when a module for the scheduler is missing."""
    service = _service(change.server)
    try:
        if change.destination is None:
            netlink.service(change.action, service=service)
        else:
            netlink.dest(change.action, service=service, dest=_dest(change.destination))
    except NetlinkError as error:
        if error.code == errno.ENOENT and change.destination is None and change.action != "del":
            name = change.server.scheduler
            raise SystemFailure(
                f"This kernel has no IPVS scheduler {name}: load it, `modprobe ip_vs_{name}`."
            ) from error
        # Somebody else was quicker: the next pass sees what is left to do.
        if error.code not in (errno.EEXIST, errno.ENOENT, errno.ESRCH):
            raise SystemFailure(f"IPVS refused this: {change.sentence} {error}.") from error


def _service(server: VirtualServer) -> IPVSService:
    return IPVSService(
        addr=str(server.key.address),
        port=server.key.port,
        protocol=server.key.protocol.number,
        sched_name=server.scheduler,
        timeout=server.timeout,
        flags={"flags": server.flags, "mask": _EVERYTHING},
    )


def _dest(destination: Destination) -> IPVSDest:
    return IPVSDest(
        addr=str(destination.address),
        port=destination.port,
        fwd_method=layout.METHODS[destination.method],
        weight=destination.weight,
    )
