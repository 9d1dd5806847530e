"""The kernel's table of services: two copies and a word that says which one is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from mmap import mmap

from bascule.dataplanes.xdp import layout
from bascule.model.errors import SystemFailure
from bascule.model.virtual_services import VirtualService

_ACTIVE = slice(0, 4)


class ServiceTable:
    """`memory` is the map, `size` how many services there are rings for, `zero_totals` clears an index's counters."""

    def __init__(self, memory: mmap, size: int, zero_totals: Callable[[int], None]) -> None:
        self._memory, self._size, self._zero_totals = memory, size, zero_totals
        self._image = self._read()
        self.indexes = layout.service_indexes(self._image)

    def require_fit(self, keys: Set[bytes]) -> None:
        """Raise SystemFailure when there are more services than rings."""
        if len(keys) > self._size:
            raise SystemFailure(
                f"{len(keys)} services do not fit the data plane's {self._size}: raise BASCULE_MAX_SERVICES."
            )

    def has_room(self, keys: Set[bytes]) -> bool:
        """Whether these fit beside those that are there."""
        return len(keys | self.indexes.keys()) <= self._size

    def reserve(self, keys: Set[bytes]) -> None:
        """Give every service an index; there must be room."""
        free = (index for index in range(self._size) if index not in self.indexes.values())
        for key, index in zip(sorted(keys - self.indexes.keys()), free, strict=False):
            self._zero_totals(index)
            self.indexes[key] = index

    def release(self, keys: Set[bytes]) -> dict[bytes, int]:
        """Take the indexes of all other services away; the caller publishes then. Returns what was taken."""
        gone = {key: index for key, index in self.indexes.items() if key not in keys}
        for key in gone:
            del self.indexes[key]
        return gone

    def publish(self, services: Mapping[bytes, VirtualService], settled: Set[bytes]) -> None:
        """Write the copy that nobody reads, then let everybody read it. Does nothing when nothing differs."""
        entries = (
            layout.pack_service(service, self.indexes[key], settled=key in settled) for key, service in services.items()
        )
        image = layout.build_service_copy(entries)
        if image != self._image:
            self._image = image
            self._write()

    def unsettle(self, keys: Set[bytes]) -> None:
        """Take the mark SETTLED off these services, in the kernel too."""
        image = layout.without_settled(self._image, keys)
        if image != self._image:
            self._image = image
            self._write()

    def in_kernel(self) -> dict[bytes, int]:
        """The services that the program sees, and their indexes."""
        return layout.service_indexes(self._read())

    def repair(self) -> tuple[str, ...]:
        """Write again what somebody else has changed."""
        if self._read() == self._image:
            return ()
        self._write()
        return ("The table of services was altered in the kernel: written again.",)

    def _active(self) -> int:
        return int.from_bytes(self._memory[_ACTIVE], "little") & 1

    def _read(self) -> bytes:
        return self._memory[_copy(self._active())]

    def _write(self) -> None:
        spare = 1 - self._active()
        self._memory[_copy(spare)] = self._image
        self._memory[_ACTIVE] = spare.to_bytes(4, "little")


def _copy(number: int) -> slice:
    start = layout.SERVICE_TABLE_HEADER + number * layout.COPY_SIZE
    return slice(start, start + layout.COPY_SIZE)
