"""Times are seconds since the epoch in the tables, and aware datetimes in the nouns."""

from __future__ import annotations

from datetime import UTC, datetime


def from_seconds(seconds: float) -> datetime:
    """Seconds since the epoch as an aware datetime (UTC)."""
    return datetime.fromtimestamp(seconds, UTC)


def optional(seconds: float | None) -> datetime | None:
    """The same of what may not be."""
    return None if seconds is None else from_seconds(seconds)


def seconds_of(time: datetime | None) -> float | None:
    """And back."""
    return None if time is None else time.timestamp()
