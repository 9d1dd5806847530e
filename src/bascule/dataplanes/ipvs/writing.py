"""Writes IPVS's entries and timeouts, in the calling thread's network namespace."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from bascule.dataplanes.ipvs import layout
from bascule.dataplanes.ipvs.diff import Change
from bascule.dataplanes.ipvs.netlink import Ipvs, Refused, connect
from bascule.model.errors import SystemFailure

_SERVER = {"add": layout.NEW_SERVICE, "set": layout.SET_SERVICE, "del": layout.DELETE_SERVICE}
_DESTINATION = {"add": layout.NEW_DESTINATION, "set": layout.SET_DESTINATION, "del": layout.DELETE_DESTINATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds of silence after which IPVS forgets a connection; the kernel's own unless said otherwise.

    They are the namespace's, not a service's: an open TCP connection, one of which a side has closed its half, and a
    flow of UDP.
    """

    tcp: int = 900
    tcp_fin: int = 120
    udp: int = 300


def write(changes: Iterable[Change]) -> None:
    """Make the changes, in their order. Raises SystemFailure at the first that the kernel refuses."""
    with connect("be changed") as ipvs:
        for change in changes:
            _apply(ipvs, change)


def keep_timeouts(wanted: Timeouts) -> tuple[str, ...]:
    """Set the timeouts if they differ. Returns a sentence for each that did."""
    with connect("tell its timeouts, or take them") as ipvs:
        found = layout.parse_timeouts(ipvs.ask(layout.GET_CONFIG))
        if found == astuple(wanted):
            return ()
        ipvs.tell(layout.SET_CONFIG, layout.timeouts(wanted.tcp, wanted.tcp_fin, wanted.udp))
    pairs = zip(("TCP", "TCP FIN", "UDP"), found, astuple(wanted), strict=True)
    return tuple(
        f"Set IPVS's timeout of {name} to {after} seconds." for name, before, after in pairs if before != after
    )


def _apply(ipvs: Ipvs, change: Change) -> None:
    """One change. Raises SystemFailure when a module for the scheduler is missing."""
    try:
        if change.destination is None:
            ipvs.tell(_SERVER[change.action], layout.service(change.server))
        else:
            which = layout.which_service(change.server.key)
            ipvs.tell(_DESTINATION[change.action], which + layout.destination(change.destination))
    except Refused as refusal:
        if refusal.code == errno.ENOENT and change.destination is None and change.action != "del":
            name = change.server.scheduler
            raise SystemFailure(
                f"This kernel has no IPVS scheduler {name}: load it, `modprobe ip_vs_{name}`."
            ) from refusal
        # Somebody else was quicker: the next pass sees what is left to do.
        if refusal.code not in (errno.EEXIST, errno.ENOENT, errno.ESRCH):
            raise SystemFailure(f"IPVS refused this: {change.sentence} {refusal}.{_advice(change)}") from refusal


def _advice(change: Change) -> str:
    to = change.destination
    if to is not None and to.address.version != change.server.key.address.version:
        return " A service and a backend of two families cannot be while IPVS's sync daemon runs: stop it."
    return ""
