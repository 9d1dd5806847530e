"""The fewest changes from what the kernel has to what it should have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from bascule.dataplanes.ipvs.entries import Destination, VirtualServer

_VERBS = {"add": "Added", "set": "Changed", "del": "Removed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One request to the kernel: about the server itself, or about one destination of it."""

    action: Literal["add", "set", "del"]
    server: VirtualServer
    destination: Destination | None = None

    @property
    def sentence(self) -> str:
        """What it does, for a human."""
        verb, to = _VERBS[self.action], self.destination
        if to is None:
            return f"{verb} the virtual server of {self.server} ({self.server.scheduler})."
        if self.action == "del":
            return f"{verb} destination {to} of {self.server}."
        return f"{verb} destination {to} of {self.server}: {to.method}, weight {to.weight}."


def diff(present: Iterable[VirtualServer], wanted: Iterable[VirtualServer]) -> tuple[Change, ...]:
    """In an order in which no server that keeps any destination is ever without one.

    A destination that is the same is not named at all, so its connections are not touched: IPVS keeps those of a server
    whose scheduler or of a destination whose weight is changed.
    """
    before = {server.key: server for server in present}
    after = {server.key: server for server in wanted}
    changes = [Change(action="del", server=before[key]) for key in sorted(before.keys() - after.keys())]
    for key in sorted(after):
        changes += _server(before.get(key), after[key])
    return tuple(changes)


def _server(present: VirtualServer | None, wanted: VirtualServer) -> Iterator[Change]:
    if present is None:
        yield Change(action="add", server=wanted)
    elif present.settings != wanted.settings:
        yield Change(action="set", server=wanted)
    before = {each.place: each for each in present.destinations} if present else {}
    for destination in wanted.destinations:
        known = before.pop(destination.place, None)
        if known is None:
            yield Change(action="add", server=wanted, destination=destination)
        elif known != destination:
            yield Change(action="set", server=wanted, destination=destination)
    for left in before.values():
        yield Change(action="del", server=wanted, destination=left)
