"""Times are seconds since the epoch in the tables, and aware datetimes in the nouns."""

from __future__ import annotations

from datetime import UTC, datetime


def from_seconds(seconds: float) -> datetime:
    """Seconds since the epoch as an aware datetime (UTC)."""
    return datetime.fromtimestamp(seconds, UTC)
