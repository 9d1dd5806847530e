"""The kernel's table of backends, one entry for each backend of each service, and who has which index.

An index is never given to another backend while a remembered flow may name it: a removed backend leaves a tombstone,
which `reap` frees after the table of flows was purged in a later pass than the removal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import replace
from mmap import mmap

from bascule.dataplanes.xdp.layout import (
    BACKEND_RESOLVED,
    BACKEND_SIZE,
    BACKEND_TRANSMIT,
    BackendEntry,
    parse_backend,
    parse_service_key,
)
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system.neighbours import NextHop

# Bytes of an outer header, by the tunnel's family.
TUNNEL_OVERHEAD = {4: 20, 6: 40}

Placed = tuple[bytes, IPAddress]


class BackendTable:
    """`memory` is the map, `zero_totals` clears the counters of an index. What the map holds already is taken over."""

    def __init__(self, memory: mmap, size: int, zero_totals: Callable[[int], None]) -> None:
        self._memory, self._size, self._zero_totals = memory, size, zero_totals
        self._image = bytearray(memory[: size * BACKEND_SIZE])
        self.entries = {index: entry for index in range(1, size) if (entry := self._parse(index))}
        self._indexes: dict[bytes, dict[IPAddress, int]] = {}
        for index, entry in self.entries.items():
            if entry.address:
                self._indexes.setdefault(entry.service, {})[entry.address] = index
        self._removed = {index for index, entry in self.entries.items() if not entry.address}
        self._reapable: set[int] = set()
        self._free = deque(index for index in range(1, size) if index not in self.entries)
        self._asked_for: Set[IPAddress] = frozenset()
        self._cut_off: Set[IPAddress] = frozenset()

    def indexes(self, service: bytes) -> dict[IPAddress, int]:
        """The indexes of the service's backends, by address."""
        return dict(self._indexes.get(service, {}))

    def addresses(self) -> set[IPAddress]:
        """The addresses of all backends."""
        return {address for (_, address), _ in self._placed()}

    def place(self, wanted: Mapping[Placed, int]) -> None:
        """Give every wanted backend (with its weight) an index and an entry. Raises SystemFailure when none is left."""
        for (service, address), weight in wanted.items():
            index = self._indexes.setdefault(service, {}).get(address)
            if index is None:
                index = self._allocate()
                self._zero_totals(index)
                self._indexes[service][address] = index
                self._write(index, BackendEntry(service=service, address=address, weight=weight))
            elif self.entries[index].weight != weight:
                self._write(index, replace(self.entries[index], weight=weight))

    def remove_others(self, wanted: Mapping[Placed, int]) -> None:
        """Turn the entries of all other backends into tombstones. No ring may name them any more."""
        gone = [(placed, index) for placed, index in self._placed() if placed not in wanted]
        for (service, address), index in gone:
            del self._indexes[service][address]
            self._write(index, BackendEntry(service=service, address=None))
            self._removed.add(index)
        self._indexes = {service: found for service, found in self._indexes.items() if found}

    def reap(self, purge: Callable[[Set[int]], int]) -> None:
        """Free the indexes that were removed before the last call; `purge` makes the kernel forget their flows."""
        if self._reapable:
            purge(self._reapable)
            for index in self._reapable:
                self._clear(index)
            self._free.extend(sorted(self._reapable))
        self._reapable, self._removed = self._removed, set()

    def point(
        self,
        hops: Mapping[IPAddress, NextHop | None],
        transmit_on: Iterable[int],
        down: Set[int] = frozenset(),
    ) -> None:
        """Write the next hops into the entries.

        `transmit_on` are the interfaces where XDP receives, `down` those that carry nothing now. An entry behind one of
        these keeps what it has, and so does one whose neighbour is merely being asked for: when the link is back,
        frames go where they went, with or without a process that looks after them.
        """
        receiving = frozenset(transmit_on)
        for (_, address), index in self._placed():
            pointed = _pointed(self.entries[index], address, hops.get(address), receiving, down)
            if pointed != self.entries[index]:
                self._write(index, pointed)
        self._asked_for = {address for address, hop in hops.items() if hop is None or hop.mac is None}
        self._cut_off = {address for address, hop in hops.items() if hop is None or hop.ifindex in down}

    def unresolved(self) -> set[IPAddress]:
        """The addresses whose next hop the kernel does not know now."""
        return self._unpointed() | {address for address in self.addresses() if address in self._asked_for}

    def cut_off(self) -> set[IPAddress]:
        """The addresses that nothing reaches: no next hop was ever known, or it is gone, or the link to it is."""
        return self._unpointed() | {address for address in self.addresses() if address in self._cut_off}

    def _unpointed(self) -> set[IPAddress]:
        return {address for (_, address), index in self._placed() if not self.entries[index].flags & BACKEND_RESOLVED}

    def repair(self) -> tuple[str, ...]:
        """Write again what somebody else has changed."""
        if self._memory[: len(self._image)] == self._image:
            return ()
        damaged = [index for index in range(self._size) if self._memory[_span(index)] != self._image[_span(index)]]
        for index in damaged:
            self._memory[_span(index)] = self._image[_span(index)]
        return tuple(f"{self._name(index)} was altered in the kernel: written again." for index in damaged)

    def _placed(self) -> Iterator[tuple[Placed, int]]:
        for service, found in self._indexes.items():
            for address, index in found.items():
                yield (service, address), index

    def _name(self, index: int) -> str:
        entry = self.entries.get(index)
        if entry is None:
            return f"The free backend entry {index}"
        return f"Backend {entry.address or 'removed'} of {parse_service_key(entry.service)}"

    def _parse(self, index: int) -> BackendEntry | None:
        return parse_backend(bytes(self._image[_span(index)]))

    def _allocate(self) -> int:
        if not self._free:
            raise SystemFailure(
                f"All {self._size - 1} entries for backends are taken: raise BASCULE_MAX_SERVICES, "
                "or move a load balancer to another node."
            )
        return self._free.popleft()

    def _write(self, index: int, entry: BackendEntry) -> None:
        self.entries[index] = entry
        self._image[_span(index)] = entry.pack()
        self._memory[_span(index)] = self._image[_span(index)]

    def _clear(self, index: int) -> None:
        del self.entries[index]
        self._image[_span(index)] = bytes(BACKEND_SIZE)
        self._memory[_span(index)] = bytes(BACKEND_SIZE)


def _span(index: int) -> slice:
    return slice(index * BACKEND_SIZE, (index + 1) * BACKEND_SIZE)


def _pointed(
    entry: BackendEntry, address: IPAddress, hop: NextHop | None, receiving: frozenset[int], down: Set[int]
) -> BackendEntry:
    if hop is None:
        return entry if entry.ifindex in down else replace(entry, flags=0)
    if hop.mac is None:
        return entry if entry.ifindex == hop.ifindex and not hop.is_failed else replace(entry, flags=0)
    transmit = BACKEND_TRANSMIT if hop.ifindex in receiving and not hop.is_veth else 0
    return replace(
        entry,
        ifindex=hop.ifindex,
        destination_mac=hop.mac,
        source_mac=hop.source_mac,
        flags=BACKEND_RESOLVED | transmit,
        inner_mtu=min(hop.mtu, 65535) - TUNNEL_OVERHEAD[address.version],
    )
