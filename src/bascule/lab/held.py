"""Connections that stay open, to see whether they survive what is done to the data centre."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice

from bascule.lab.network import namespace
from bascule.lab.state import Lab
from bascule.lab.traffic import Target
from bascule.system.namespaces import call_in

_PATIENCE = 5.0


@dataclass(slots=True)
class Held:
    """One open connection; `name` is the instance it talks to."""

    connection: socket.socket
    name: str = field(default="")

    def __post_init__(self) -> None:
        self.name = self._ask("HOLD\n")

    def beat(self) -> str:
        """ "" when the same instance still answers, what happened otherwise."""
        try:
            name = self._ask("?\n").partition(" ")[0]
        except OSError as error:
            return error.strerror or str(error)
        return "" if name == self.name else f"{name or 'nobody'} answered in place of {self.name}"

    def _ask(self, words: str) -> str:
        self.connection.sendall(words.encode())
        return self.connection.recv(64).decode().strip()


@contextmanager
def hold(lab: Lab, target: Target, count: int) -> Iterator[list[Held]]:
    """Open `count` connections from the client's addresses, and close them in the end."""
    opened: list[Held] = []

    def connect() -> None:
        # A socket belongs for good to the namespace of the thread that makes it, whoever uses it later.
        for source in islice(cycle(map(str, lab.topology.client_addresses(target.address.version))), count):
            endpoint = (str(target.address), target.port)
            opened.append(Held(socket.create_connection(endpoint, timeout=_PATIENCE, source_address=(source, 0))))

    try:
        call_in(namespace(lab.name, "client"), connect)
        yield opened
    finally:
        for held in opened:
            with suppress(OSError):
                held.connection.close()


def lost(connections: list[Held]) -> list[str]:
    """What happened to those that no longer answer."""
    return [word for word in map(Held.beat, connections) if word]
