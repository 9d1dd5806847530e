"""Reads IPVS's table, in the calling thread's network namespace."""

from __future__ import annotations

from collections.abc import Set

from bascule.dataplanes.ipvs import layout
from bascule.dataplanes.ipvs.entries import Found
from bascule.dataplanes.ipvs.netlink import connect
from bascule.model.addresses import IPAddress


def require() -> None:
    """Load IPVS. Raises SystemFailure that says how to get it when it is missing."""
    with connect("be loaded"):
        pass


def read(ours: Set[IPAddress]) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """The virtual servers of these addresses with their destinations, and the names of all others."""
    found: list[Found] = []
    others: list[str] = []
    with connect("be read") as ipvs:
        for message in list(ipvs.dump(layout.GET_SERVICE)):
            server, name, traffic = layout.parse_server(message)
            if server is None or server.key.address not in ours:
                others.append(name)
                continue
            dump = ipvs.dump(layout.GET_DESTINATION, layout.which_service(server.key))
            pairs = [layout.parse_destination(each) for each in dump]
            server = layout.with_destinations(server, tuple(destination for destination, _ in pairs))
            found.append(Found(server=server, traffic=traffic, loads=tuple(load for _, load in pairs)))
    return tuple(found), tuple(others)
