"""One message and its handler: what every bus does alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from pydantic import ValidationError

from bascule.clock import Clock
from bascule.events.interface import Topic
from bascule.events.metrics import EventCounters
from bascule.model.errors import BasculeError, InvalidInput, Unavailable

T = TypeVar("T")
PAUSE = 1.0  # seconds between two attempts while something is away

log = structlog.stdlib.get_logger(__name__)


class Delivery:
    """Hands messages over, and counts what becomes of them."""

    def __init__(self, clock: Clock, counters: EventCounters) -> None:
        self._clock, self._counters = clock, counters

    async def deliver(self, topic: str, key: str, attempt: Callable[[], Awaitable[None]]) -> str | None:
        """Returns None when it was handled, or a sentence that says why it is poison."""
        while True:
            try:
                await attempt()
            except Unavailable as error:
                log.warning("message waits", topic=topic, key=key, reason=error.sentence)
                self._counters.retried(topic)
                await self._clock.sleep(PAUSE)
            except BasculeError as error:
                return error.sentence
            except Exception as error:
                # A message that breaks its handler must not stop the others.
                log.exception("handler failed", topic=topic, key=key)
                return f"{type(error).__name__}: {error}"
            else:
                self._counters.handled(topic)
                return None

    def set_aside(self, topic: str, key: str, reason: str) -> None:
        """Count it and say so; the bus has put the message where it is kept."""
        log.error("message set aside", topic=topic, key=key, reason=reason)
        self._counters.set_aside(topic)


def decode(topic: Topic[T], value: bytes | None) -> T:
    """Raises InvalidInput that names the first wrong field."""
    try:
        return topic.kind.validate_json(value or b"")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{field or 'message'}: {first['msg']}. Correct the sender.", field=field) from error
