"""The books of one flow: what was asked, what was answered, by whom, and how long nothing was heard. Pure.

All times are seconds of one clock that never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

# A silence shorter than this is not written down: any machine has thousands of them.
_WORTH_TELLING = 0.01
# A connection that was asked and has not answered for this long in the end is counted as broken.
PATIENCE = 5.0


class Kind(StrEnum):
    """What a flow is."""

    HELD = "held"  # a TCP connection that was open before the fault and is to outlive it
    NEW = "new"  # a TCP connection opened while the fault goes on, and closed after some seconds
    DATAGRAMS = "datagrams"  # a UDP flow
    CONTROL = "control"  # a TCP connection straight to an instance: what it suffers, no load balancer did


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What became of one flow. `instance` answered first; `gaps` are from and until when it was silent too long.

    `opening` is how long it took until the instance spoke. `broken` says why it is no more, and `broken_at` when;
    `refused` says why it never came to be.
    """

    kind: Kind
    instance: str = ""
    began: float = 0.0
    opening: float = 0.0
    sent: int = 0
    lost: int = 0
    duplicates: int = 0
    moves: tuple[float, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    broken: str = ""
    broken_at: float = 0.0
    refused: str = ""


@dataclass(slots=True)
class Flow:
    """One flow while it lives. `interval` is the time between two heartbeats."""

    kind: Kind
    interval: float
    began: float
    instance: str = ""
    opening: float = 0.0
    sent: int = 0
    heard: int = 0
    duplicates: int = 0
    broken: str = ""
    broken_at: float = 0.0
    refused: str = ""
    _first: str = ""
    _last: float = 0.0
    _waiting: dict[int, float] = field(default_factory=dict)
    _moves: list[float] = field(default_factory=list)
    _gaps: list[tuple[float, float]] = field(default_factory=list)

    def greeted(self, instance: str, now: float) -> None:
        """The instance spoke for the first time: from now on silence counts."""
        self.instance = self._first = instance
        self.opening = now - self.began
        self._last = now

    def begin(self, now: float) -> None:
        """The measurement begins: how long the others took to open was no silence."""
        if self._last:
            self._last = now

    def beat(self, now: float) -> int:
        """The number to send next."""
        self.sent += 1
        self._waiting[self.sent] = now
        if not self._last:
            self._last = now
        return self.sent

    def answered(self, instance: str, number: int, now: float) -> None:
        """An answer came. On a connection it must be the one that is due: TCP loses nothing and doubles nothing."""
        self._end_silence(now)
        if self._waiting.pop(number, None) is None:
            self.duplicates += 1
        if self.kind is not Kind.DATAGRAMS and number != self.heard + 1:
            self.breaks(f"answer {number} came where {self.heard + 1} was due", now)
        self.heard = max(self.heard, number)
        if instance != self.instance:
            if self.instance:
                self._moves.append(now)
            self._first = self._first or instance
            self.instance = instance

    def breaks(self, why: str, now: float) -> None:
        """The connection is no more; the first reason counts."""
        if not self.broken:
            self.broken, self.broken_at = why, now

    @property
    def open(self) -> bool:
        """Whether the instance has spoken and nothing went wrong since."""
        return bool(self._first) and not self.broken

    def finish(self, now: float) -> Record:
        """Close the books. A datagram is lost when it should have been answered a second ago."""
        silent = bool(self._waiting) and not self.broken and now - self._last > self.interval + _WORTH_TELLING
        if silent:
            self._end_silence(now)
        if silent and self.kind is not Kind.DATAGRAMS and now - min(self._waiting.values()) > PATIENCE:
            self.breaks("no answer in time", min(self._waiting.values()))
        lost = sum(1 for sent in self._waiting.values() if now - sent > 1.0) if self.kind is Kind.DATAGRAMS else 0
        return Record(
            kind=self.kind,
            instance=self._first,
            began=self.began,
            opening=self.opening,
            sent=self.sent,
            lost=lost,
            duplicates=self.duplicates,
            moves=tuple(self._moves),
            gaps=tuple(self._gaps),
            broken=self.broken,
            broken_at=self.broken_at,
            refused=self.refused,
        )

    def _end_silence(self, now: float) -> None:
        if self._last and now - self._last > self.interval + _WORTH_TELLING:
            self._gaps.append((self._last, now))
        self._last = now
