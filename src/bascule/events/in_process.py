"""The bus of one process: messages live as long as it does."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bascule.clock import Clock
from bascule.events.delivery import Delivery
from bascule.events.interface import Topic
from bascule.events.metrics import EventCounters
from bascule.model.errors import Unavailable

T = TypeVar("T")
CAPACITY = 10_000
DEAD_KEPT = 1000


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message that was set aside."""

    key: str
    message: Any
    reason: str


@dataclass
class _Lane:
    """The messages of one topic; the first stays until it is handled."""

    waiting: deque[tuple[str, Any]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    dead: deque[DeadMessage] = field(default_factory=lambda: deque(maxlen=DEAD_KEPT))


class InProcessBus:
    """Implements `bascule.events.interface.Bus` in memory. Messages are passed as they are."""

    def __init__(self, *, clock: Clock, counters: EventCounters) -> None:
        self._delivery = Delivery(clock, counters)
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)

    async def publish(self, topic: Topic[T], key: str, message: T) -> None:
        """Put it at the end. Raises Unavailable when 10 000 wait already: nobody consumes this topic."""
        lane = self._lanes[topic.name]
        if len(lane.waiting) >= CAPACITY:
            raise Unavailable(f"{CAPACITY} messages wait in {topic.name} already: see why nobody handles them.")
        lane.waiting.append((key, message))
        lane.arrived.set()

    async def consume(self, topic: Topic[T], handle: Callable[[T], Awaitable[None]]) -> None:
        """One consumer at a time works, so that the order is kept."""
        lane = self._lanes[topic.name]
        async with lane.turn:
            while True:
                while not lane.waiting:
                    lane.arrived.clear()
                    await lane.arrived.wait()
                key, message = lane.waiting[0]
                reason = await self._delivery.deliver(topic.name, key, partial(handle, message))
                if reason is not None:
                    lane.dead.append(DeadMessage(key, message, reason))
                    self._delivery.set_aside(topic.name, key, reason)
                lane.waiting.popleft()

    def dead(self, topic: Topic[T]) -> tuple[DeadMessage, ...]:
        """The newest messages that were set aside."""
        return tuple(self._lanes[topic.name].dead)

    async def close(self) -> None:
        """Nothing to let go of."""
