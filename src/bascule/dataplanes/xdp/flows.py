"""The kernel's table of remembered flows: purged of removed backends, and scanned to clean slots. The work is in C."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping, Set
from ctypes import addressof, c_char
from mmap import mmap

from bascule.dataplanes.xdp import history
from bascule.dataplanes.xdp.layout import FLOW_TICK_LOG2_NS, RING_STRIDE
from bascule.dataplanes.xdp.library import ANY_BACKEND, library
from bascule.model.errors import SystemFailure

_NO_RING = 0xFFFF


def now() -> int:
    """The program's clock in ticks, of which it keeps 16 bits."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> FLOW_TICK_LOG2_NS & 0xFFFF


class FlowTable:
    """`memory` is the map; `words` is how many flows it can remember; `clock` gives ticks."""

    def __init__(self, memory: mmap, words: int, clock: Callable[[], int] = now) -> None:
        self._memory, self._words, self._clock = memory, words, clock

    def purge(self, backends: Set[int]) -> int:
        """Forget the flows of these backends; returns how many there were."""
        return int(library().bascule_purge(_pointer(self._memory), self._words, history.flags(backends)))

    def count(self, backends: Set[int], rings: mmap, ring_of: Mapping[int, int], idle: float) -> dict[int, int]:
        """How many flows that these backends have, or may have, were seen within `idle` seconds.

        `ring_of` says in which ring the backends are of every service that one of them serves.
        """
        counts = array("I", bytes(4 * ANY_BACKEND))
        numbers = array("H", [_NO_RING]) * ANY_BACKEND
        for backend, ring in ring_of.items():
            numbers[backend] = ring
        table = _pointer(rings), RING_STRIDE // 4, numbers.buffer_info()[0], _pointer(self._memory), self._words
        library().bascule_count_flows(
            *table, history.flags(backends), self._clock(), _ticks(idle), counts.buffer_info()[0]
        )
        return {index: counts[index] for index in backends}

    def clean(self, rings: mmap, offset: int, mine: Set[int], idle: float) -> int:
        """Clean the ring at `offset` bytes into `rings`; a flow not seen for `idle` seconds counts as ended."""
        table = _pointer(self._memory), self._words
        dirty = int(
            library().bascule_clean(_pointer(rings) + offset, *table, history.flags(mine), self._clock(), _ticks(idle))
        )
        if dirty < 0:
            raise SystemFailure("No memory is left to clean a ring: give the machine more.")
        return dirty


def _ticks(seconds: float) -> int:
    return min(int(seconds * 1e9) >> FLOW_TICK_LOG2_NS, 0x7FFF)


def _pointer(memory: mmap) -> int:
    return addressof(c_char.from_buffer(memory))
