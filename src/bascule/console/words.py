"""States, durations and moments as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum


class Look(Enum):
    """How a state looks: never by its colour alone. `word` is also its class in the style sheet."""

    WAITING = ("waiting", "○")
    RUNNING = ("running", "◐")
    DONE = ("done", "✓")
    FAILED = ("failed", "✕")
    CANCELLED = ("cancelled", "■")
    SKIPPED = ("skipped", "⊘")
    UNKNOWN = ("unknown", "?")

    @property
    def word(self) -> str:
        """What a screen reader says."""
        return self.value[0]

    @property
    def symbol(self) -> str:
        """What is seen at a glance."""
        return self.value[1]


_LOOKS = {
    "waiting": Look.WAITING,
    "running": Look.RUNNING,
    "success": Look.DONE,
    "failure": Look.FAILED,
    "cancelled": Look.CANCELLED,
}
_PRIORITIES = {0: "a user", 10: "an operator", 20: "an event", 30: "the periodic look"}


def look_of(state: str) -> Look:
    """How a state of the API looks; a newer API may know states that we do not."""
    return _LOOKS.get(state, Look.UNKNOWN)


def asked_by(priority: int) -> str:
    """Who asks with this priority of the queue (`orchestration.queue.Priority`)."""
    return _PRIORITIES.get(priority, f"priority {priority}")


def lasted(started: datetime | None, ended: datetime | None) -> str:
    """How long it took; empty while that is not known."""
    return "" if started is None or ended is None else span((ended - started).total_seconds())


def span(seconds: float) -> str:
    """A duration in the two largest units that matter; `lasted` in console.js says the same."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def moment(at: datetime) -> str:
    """A moment in UTC, as logs have it: operators compare the two."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def seconds(at: datetime) -> float:
    """A moment as seconds since the epoch."""
    return round(at.timestamp(), 3)
