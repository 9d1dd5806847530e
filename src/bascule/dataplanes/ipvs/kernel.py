"""Reads and writes IPVS's entries by generic netlink, in the calling thread's network namespace.

Two traps of pyroute2 0.9: its command "update" sends the kernel's *delete* ("set" is the change), and its records read
from a message show the method of every destination as the default; so messages are read attribute by attribute here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from pyroute2.ipvs import IPVS, IPVSDest, IPVSService
from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.ipvs import family
from bascule.dataplanes.ipvs.diff import Change
from bascule.dataplanes.ipvs.entries import (
    FALLBACK,
    PERSISTENT,
    WITH_PORT,
    Destination,
    Found,
    Load,
    VirtualServer,
)
from bascule.model.errors import SystemFailure
from bascule.model.reports import Traffic
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod, ServiceKey

# linux/ip_vs.h: IP_VS_CONN_F_MASQ, …_LOCALNODE, …_TUNNEL, …_DROUTE
METHODS = {
    ForwardingMethod.TRANSLATION: 0,
    ForwardingMethod.LOCAL: 1,
    ForwardingMethod.TUNNEL: 2,
    ForwardingMethod.DIRECT: 3,
}
_METHOD_NAMES = {number: method for method, number in METHODS.items()}
_METHOD_MASK = 0x7
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
# Flags that we set; the kernel keeps some of its own.
_FLAGS = PERSISTENT | 0x4 | FALLBACK | WITH_PORT | 0x20
_EVERYTHING = 0xFFFFFFFF


@contextmanager
def connect() -> Iterator[Any]:
    """A netlink socket of IPVS. Raises SystemFailure, also for what is done with it meanwhile."""
    family.require()
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


def read(netlink: Any) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """The servers that could be ours, then the names of all others (IPv6, firewall marks, other protocols)."""
    found: list[Found] = []
    others: list[str] = []
    for message in netlink.service("dump"):
        service = message.get_attr("IPVS_CMD_ATTR_SERVICE")
        key = _key(service)
        if key is None:
            others.append(_name(service))
        else:
            found.append(_found(netlink, key, service))
    return tuple(found), tuple(others)


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
        fwd_method=METHODS[destination.method],
        weight=destination.weight,
    )


def _key(service: Any) -> ServiceKey | None:
    protocol = _PROTOCOLS.get(service.get_attr("IPVS_SVC_ATTR_PROTOCOL"))
    if service.get_attr("IPVS_SVC_ATTR_AF") != socket.AF_INET or protocol is None:
        return None
    if service.get_attr("IPVS_SVC_ATTR_FWMARK"):
        return None
    address = IPv4Address(service.get_attr("IPVS_SVC_ATTR_ADDR"))
    return ServiceKey(address, protocol, service.get_attr("IPVS_SVC_ATTR_PORT") or 0)


def _name(service: Any) -> str:
    mark = service.get_attr("IPVS_SVC_ATTR_FWMARK")
    if mark:
        return f"firewall mark {mark}"
    number, port = (service.get_attr(f"IPVS_SVC_ATTR_{what}") for what in ("PROTOCOL", "PORT"))
    return f"protocol {number} [{service.get_attr('IPVS_SVC_ATTR_ADDR')}]:{port}"


def _found(netlink: Any, key: ServiceKey, service: Any) -> Found:
    server = VirtualServer(
        key=key,
        scheduler=service.get_attr("IPVS_SVC_ATTR_SCHED_NAME"),
        flags=service.get_attr("IPVS_SVC_ATTR_FLAGS")["flags"] & _FLAGS,
        timeout=service.get_attr("IPVS_SVC_ATTR_TIMEOUT"),
    )
    dump = netlink.dest("dump", service=_service(server))
    dests = [message.get_attr("IPVS_CMD_ATTR_DEST") for message in dump]
    return Found(
        server=VirtualServer(
            key=key,
            scheduler=server.scheduler,
            flags=server.flags,
            timeout=server.timeout,
            destinations=tuple(_destination(dest) for dest in dests),
        ),
        traffic=_traffic(service.get_attr("IPVS_SVC_ATTR_STATS64")),
        loads=tuple(_load(dest) for dest in dests),
    )


def _destination(dest: Any) -> Destination:
    return Destination(
        address=IPv4Address(dest.get_attr("IPVS_DEST_ATTR_ADDR")),
        port=dest.get_attr("IPVS_DEST_ATTR_PORT"),
        method=_METHOD_NAMES[dest.get_attr("IPVS_DEST_ATTR_FWD_METHOD") & _METHOD_MASK],
        weight=dest.get_attr("IPVS_DEST_ATTR_WEIGHT"),
    )


def _load(dest: Any) -> Load:
    return Load(
        traffic=_traffic(dest.get_attr("IPVS_DEST_ATTR_STATS64")),
        active=dest.get_attr("IPVS_DEST_ATTR_ACTIVE_CONNS"),
        inactive=dest.get_attr("IPVS_DEST_ATTR_INACT_CONNS"),
    )


def _traffic(stats: Any) -> Traffic:
    return Traffic(packets=stats.get_attr("IPVS_STATS_ATTR_INPKTS"), bytes=stats.get_attr("IPVS_STATS_ATTR_INBYTES"))
