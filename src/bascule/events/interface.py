"""Buses: publish a message under a key; handle every message once at least, those of one key in their order.

A message counts as handled when its handler returns. When the handler raises Unavailable (the database is away), the
message is tried again until it succeeds: nothing behind it could be handled either. When it raises anything else, the
message is poison: it is set aside with the reason, counted, and the next one is handled. Handlers see messages again
after a crash and must not mind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic(Generic[T]):
    """A stream of messages of one kind. Those set aside are kept in the topic `dead`."""

    name: str
    kind: TypeAdapter[T]

    @property
    def dead(self) -> str:
        """The name of the topic for what could not be handled."""
        return f"{self.name}.dead"


class Bus(Protocol):
    """What carries messages. Every message goes to one of those who consume its topic."""

    async def publish(self, topic: Topic[T], key: str, message: T) -> None:
        """Returns when the bus answers for the message. Raises Unavailable when it does not take it."""

    async def consume(self, topic: Topic[T], handle: Callable[[T], Awaitable[None]]) -> None:
        """Handle messages until cancelled, beginning with the first that nobody handled."""

    async def close(self) -> None:
        """Let go of connections."""


class Source(Protocol):
    """Something outside that is listened to, such as the API of a Kubernetes cluster."""

    async def run(self, bus: Bus) -> None:
        """Publish what is heard, until cancelled. Knows by itself where it stopped, or begins with all there is."""
