"""All tables of the program together: brings them from what they hold to what the services want, in a safe order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap

from bascule.dataplanes.xdp import layout
from bascule.dataplanes.xdp.backends import BackendTable, Placed
from bascule.dataplanes.xdp.flows import FlowTable
from bascule.dataplanes.xdp.maglev import Share, fill
from bascule.dataplanes.xdp.rings import RingTable
from bascule.dataplanes.xdp.sequence import interleave
from bascule.dataplanes.xdp.services import ServiceTable
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import VirtualService
from bascule.system.bpf import BpfObject

CLEANING_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class IdleTimes:
    """Seconds after which a silent flow counts as ended. TCP says when a flow is new, so it may be silent for long.

    A slot that moved stays dirty for `moved` seconds at least: this node may see none of its old flows while another
    one has some, and should that node die, they are found only as long as this one remembers where the slot was.
    """

    tcp: float = 900.0
    udp: float = 60.0
    moved: float = 600.0

    def of(self, protocol: Protocol) -> float:
        """The time for flows of the protocol."""
        return self.tcp if protocol is Protocol.TCP else self.udp

    def until_settled(self, protocol: Protocol) -> float:
        """For how long after a change a slot of a service of that protocol is dirty, whatever flows there are."""
        return max(self.of(protocol), self.moved)


class Tables:
    """Takes over what the maps hold. Not for two threads at once."""

    def __init__(self, loaded: BpfObject, idle: IdleTimes) -> None:
        self._loaded, self._idle = loaded, idle
        backends, flows = loaded.map("backends"), loaded.map("flows")
        self._memory: dict[str, mmap] = {
            name: loaded.map(name).memory() for name in ("services", "rings", "sequences", "backends", "flows")
        }
        self.backends = BackendTable(self._memory["backends"], backends.max_entries, self._zero_backend)
        self._flows = FlowTable(self._memory["flows"], flows.max_entries * layout.BUCKET_FLOWS)
        self._rings = RingTable(self._memory["rings"], self._memory["sequences"])
        self.services = ServiceTable(self._memory["services"], loaded.map("rings").max_entries, self._zero_service)
        self._applied: dict[bytes, VirtualService] = {}
        for index in self.services.indexes.values():
            self._rings.take_over(index)

    def repair(self) -> tuple[str, ...]:
        """Write again what somebody else has changed."""
        return (*self.services.repair(), *self.backends.repair(), *self._repair_rings())

    def prepare(self, services: tuple[VirtualService, ...]) -> bool:
        """Make room for the services and their backends; False when these services are applied already."""
        if self._is_applied(services):
            return False
        keys = {layout.service_key(service.key) for service in services}
        self.services.require_fit(keys)
        if not self.services.has_room(keys):
            self.apply(tuple(service for key, service in self._applied.items() if key in keys))
        self.services.reserve(keys)
        self.backends.place(_placed(services))
        return True

    def apply(self, services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """Rings first, then the table that leads to them, then the removal of what no ring names any more."""
        wanted = {layout.service_key(service.key): service for service in services}
        changed = [key for key, service in wanted.items() if self._applied.get(key) != service]
        # Before slots change hands, flows that are not remembered must count as old ones again.
        self.services.unsettle(set(changed))
        before = self.services.in_kernel().keys()
        written = [wanted[key].key for key in changed if self._assign(key, wanted[key]) or key not in before]
        removed = self.services.release(wanted.keys())
        for index in removed.values():
            self._rings.remove(index)
        self._applied = wanted
        self._publish()
        self.backends.remove_others(_placed(services))
        return (
            *(f"Wrote {key}." for key in sorted(written)),
            *(f"Removed {layout.parse_service_key(key)}." for key in sorted(removed)),
        )

    def keep_house(self) -> None:
        """Free the entries of removed backends, clean one ring, and let settled services know that they are."""
        self.backends.reap(self._flows.purge)
        for key, index in self._due():
            mine = set(self.backends.indexes(key).values())
            self._rings.clean(index, self._flows, mine, self._idle.of(self._applied[key].key.protocol))
        self._publish()

    def remaining(self) -> dict[Placed, int | None]:
        """The flows of each backend with weight 0 that were seen lately.

        A flow is remembered by its first packet after the change: zero is not known (None) before all had the time.
        """
        found: dict[Placed, int | None] = {}
        for protocol in Protocol:
            drains = {
                self.backends.indexes(key)[backend.address]: (key, backend.address)
                for key, service in self._applied.items()
                if service.key.protocol is protocol
                for backend in service.backends
                if backend.weight == 0
            }
            for index, count in self._count(drains, self._idle.of(protocol)).items():
                ring = self.services.indexes[drains[index][0]]
                known = count > 0 or self._rings.knows_all(ring, self._idle.of(protocol))
                found[drains[index]] = count if known else None
        return found

    def _count(self, drains: Mapping[int, Placed], idle: float) -> Mapping[int, int]:
        if not drains:
            return {}
        ring_of = {
            index: self.services.indexes[key]
            for key in {key for key, _ in drains.values()}
            for index in self.backends.indexes(key).values()
        }
        return self._flows.count(drains.keys(), self._memory["rings"], ring_of, idle)

    def dirty_slots(self) -> int:
        """Over all rings: slots whose flows are looked up in the table of flows."""
        return sum(self._rings.dirty(self.services.indexes[key]) for key in self._applied)

    def close(self) -> None:
        """Unmap the maps."""
        for memory in self._memory.values():
            memory.close()

    def _is_applied(self, services: tuple[VirtualService, ...]) -> bool:
        applied = self._applied.values()
        return len(applied) == len(services) and all(a is b or a == b for a, b in zip(applied, services, strict=True))

    def _assign(self, key: bytes, service: VirtualService) -> bool:
        """Give the ring to the service's backends; whether that changed anything in the kernel."""
        index = self.services.indexes[key]
        if not self._rings.is_known(index):
            self._rings.create(index)
        indexes = self.backends.indexes(key)
        shares = [Share(backend.address, backend.weight, indexes[backend.address]) for backend in service.backends]
        takes_turns = service.strategy is Strategy.ROUND_ROBIN
        # Round robin remembers every flow, so its ring needs no history: as if no backend had flows to keep.
        alive = frozenset() if takes_turns else frozenset(share.label for share in shares)
        owners = fill(shares, layout.service_seed(key, service.hash_seed))
        return self._rings.assign(index, owners, alive, interleave(shares) if takes_turns else ())

    def _is_settled(self, key: bytes) -> bool:
        service = self._applied[key]
        if service.key.protocol is not Protocol.UDP:
            return False
        return self._rings.is_settled(self.services.indexes[key], self._idle.until_settled(Protocol.UDP))

    def _publish(self) -> None:
        self.services.publish(self._applied, {key for key in self._applied if self._is_settled(key)})

    def _due(self) -> Iterator[tuple[bytes, int]]:
        """At most one ring a call: a scan of a million flows takes milliseconds."""
        for key, service in self._applied.items():
            index = self.services.indexes[key]
            if self._rings.is_due(index, self._idle.until_settled(service.key.protocol), CLEANING_PAUSE):
                yield key, index
                return

    def _repair_rings(self) -> Iterator[str]:
        for key, service in self._applied.items():
            if self._rings.is_damaged(self.services.indexes[key]):
                yield f"The ring of {service.key} was altered in the kernel: written again."

    def _zero_backend(self, index: int) -> None:
        self._loaded.map("backend_totals").set_per_cpu(index.to_bytes(4, "little"), bytes(layout.TOTAL_SIZE))

    def _zero_service(self, index: int) -> None:
        self._loaded.map("service_totals").set_per_cpu(index.to_bytes(4, "little"), bytes(layout.TOTAL_SIZE))


def _placed(services: tuple[VirtualService, ...]) -> Mapping[Placed, int]:
    return {
        (layout.service_key(service.key), backend.address): backend.weight
        for service in services
        for backend in service.backends
    }
