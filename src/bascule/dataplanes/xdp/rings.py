"""The kernel's Maglev rings and round robin sequences: one of each for every service index."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Set
from dataclasses import dataclass
from mmap import mmap

from bascule.dataplanes.xdp import history
from bascule.dataplanes.xdp.flows import FlowTable
from bascule.dataplanes.xdp.layout import RING_SIZE, RING_STRIDE, SEQUENCE_COUNTER_SIZE, SEQUENCE_SIZE, pack_sequence


@dataclass(slots=True)
class _Ring:
    """What the kernel should hold. `changed_at` and `cleaned_at` are monotonic seconds."""

    image: bytearray
    sequence: bytes
    dirty: int
    changed_at: float
    cleaned_at: float = 0.0


class RingTable:
    """`rings` and `sequences` are the two maps."""

    def __init__(self, rings: mmap, sequences: mmap, clock: Callable[[], float] = time.monotonic) -> None:
        self._rings, self._sequences, self._clock = rings, sequences, clock
        self._known: dict[int, _Ring] = {}

    def take_over(self, index: int) -> None:
        """Believe what an earlier process left at this index. When its ring last changed is unknown: say now."""
        image = bytearray(self._rings[_ring_span(index)])
        sequence = self._sequences[_sequence_span(index)]
        self._known[index] = _Ring(image, sequence, history.count_dirty(image), self._clock())

    def create(self, index: int) -> None:
        """Start with a ring that nobody owns."""
        self._known[index] = _Ring(bytearray(RING_SIZE), pack_sequence(()), 0, self._clock())
        self._write(index)

    def is_known(self, index: int) -> bool:
        """Whether a service has this index."""
        return index in self._known

    def remove(self, index: int) -> None:
        """The service is gone, or never came: its backends may have found no room."""
        self._known.pop(index, None)

    def assign(self, index: int, owners: array[int], alive: Set[int], sequence: tuple[int, ...]) -> bool:
        """Give the slots to their owners, keeping the history of flows to `alive` ones; whether anything changed."""
        ring = self._known[index]
        before, former_sequence = bytes(ring.image), ring.sequence
        ring.dirty = history.merge(ring.image, owners, alive)
        ring.sequence = pack_sequence(sequence)
        is_ring_changed = ring.image != before
        if is_ring_changed:
            ring.changed_at = self._clock()
        self._write(index)
        return is_ring_changed or ring.sequence != former_sequence

    def is_damaged(self, index: int) -> bool:
        """Whether somebody else has written to the kernel's ring or sequence; if so it is written again."""
        ring = self._known[index]
        same_ring = self._rings[_ring_span(index)] == ring.image
        if same_ring and self._sequences[_sequence_span(index)] == ring.sequence:
            return False
        self._write(index)
        return True

    def is_settled(self, index: int, quiet: float) -> bool:
        """Whether the ring is dirty, but unchanged for `quiet` seconds: every old flow is remembered by now."""
        ring = self._known[index]
        return ring.dirty > 0 and self._clock() - ring.changed_at >= quiet

    def knows_all(self, index: int, idle: float) -> bool:
        """Whether flows of former owners that are not remembered are over: no slot is dirty, or none changed lately."""
        return self._known[index].dirty == 0 or self.is_settled(index, idle)

    def is_due(self, index: int, quiet: float, pause: float) -> bool:
        """Whether a settled ring was not cleaned for `pause` seconds."""
        return self.is_settled(index, quiet) and self._clock() - self._known[index].cleaned_at >= pause

    def clean(self, index: int, flows: FlowTable, mine: Set[int], idle: float) -> int:
        """Clean the slots without old flows; `mine` are the service's backends. Returns how many stay dirty."""
        ring = self._known[index]
        ring.cleaned_at = self._clock()
        ring.dirty = flows.clean(self._rings, index * RING_STRIDE, mine, idle)
        ring.image[:] = self._rings[_ring_span(index)]
        return ring.dirty

    def dirty(self, index: int) -> int:
        """How many slots of the ring are dirty."""
        return self._known[index].dirty

    def _write(self, index: int) -> None:
        ring = self._known[index]
        self._rings[_ring_span(index)] = bytes(ring.image)
        self._sequences[_sequence_span(index)] = ring.sequence


def _ring_span(index: int) -> slice:
    return slice(index * RING_STRIDE, index * RING_STRIDE + RING_SIZE)


def _sequence_span(index: int) -> slice:
    """Without the counter, which is the program's."""
    start = index * SEQUENCE_SIZE
    return slice(start + SEQUENCE_COUNTER_SIZE, start + SEQUENCE_SIZE)
