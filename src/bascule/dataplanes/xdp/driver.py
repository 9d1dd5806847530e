"""The XDP data plane: loads the program, keeps its tables and everything around them as desired, reads its counters.

All state lives in pinned maps and in the kernel: after `kill -9` the program forwards on, and the next process takes
the maps over with the history of every ring. The program is attached by the first `enforce`, once the tables are right:
until then the program of the process before forwards, with the same tables.

Every write that changed something gives `enforce` a sentence; a process that finds everything as it should be says
nothing. Which sentences are repairs, and which are what was asked for, the agent knows.
"""

from __future__ import annotations

import threading
from collections.abc import Set
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from mmap import mmap
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.interface import require_carryable
from bascule.dataplanes.xdp import layout
from bascule.dataplanes.xdp.kernel import Attachment, load
from bascule.dataplanes.xdp.observation import observe
from bascule.dataplanes.xdp.pointing import Pointing
from bascule.dataplanes.xdp.refusal import Refusal
from bascule.dataplanes.xdp.tables import IdleTimes, Tables
from bascule.model.addresses import IPAddress
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport
from bascule.model.virtual_services import ServiceKey, VirtualService
from bascule.system.bpf import BpfObject

BACKENDS_PER_SERVICE = 64


class XdpDataPlane:
    """The contract's methods may be called from any thread, one at a time, in one network namespace."""

    name = "xdp"
    capabilities = CAPABILITIES[DataPlaneName.XDP]

    def __init__(
        self,
        *,
        interfaces: tuple[str, ...],
        tunnel_source: IPv4Network,
        tunnel_source_v6: IPv6Network,
        max_services: int,
        bpf_dir: Path,
        flow_buckets: int = 131072,
        idle: IdleTimes = IdleTimes(),  # noqa: B008  frozen
        second_chance: bool = True,
    ) -> None:
        """`max_services` rings take 256 KiB each, `flow_buckets` (a power of two) 64 bytes and 8 flows each.

        With `second_chance`, hypervisors must understand packets with two headers.
        `bpf_dir` is where the maps are pinned; a bpf file system is mounted there unless it is on one.
        """
        self._attachments = tuple(Attachment(name) for name in interfaces)
        self._settings = layout.pack_settings(
            tunnel_source, tunnel_source_v6, flow_buckets, second_chance=second_chance
        )
        self._sizes = _sizes(max_services, flow_buckets)
        # Without a second chance new datagrams in moved slots go astray until the slots are settled: make it soon.
        self._bpf_dir, self._idle = bpf_dir, idle if second_chance else replace(idle, moved=0.0)
        self._refusal = Refusal()
        self._lock = threading.Lock()
        self._notes: tuple[str, ...] = ()
        self._loaded: BpfObject | None = None
        self._tables: Tables | None = None
        self._pointing: Pointing | None = None
        self._addresses: frozenset[IPAddress] = frozenset()
        self._services: tuple[VirtualService, ...] = ()

    def start(self) -> None:
        """Load the program over the tables of an earlier process, if there are any."""
        if self._loaded is not None:
            return
        for attachment in self._attachments:
            attachment.find()
        self._loaded, self._notes = load(self._bpf_dir, self._sizes, self._settings)
        self._tables = Tables(self._loaded, self._idle)
        self._pointing = Pointing(self._tables.backends, self._lock)

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """See the contract. An address of a service counts as held."""
        loaded, tables, pointing = self._started()
        require_carryable(self, services)
        held = frozenset(addresses) | {service.key.address for service in services}
        try:
            with self._lock:
                sentences, self._notes = self._notes, ()
                sentences += tables.repair()
                if tables.prepare(services):
                    pointing.refresh(routes=False, receiving=self._receiving())
                    sentences += tables.apply(services)
                pointing.look_after(receiving=self._receiving())
                tables.keep_house()
                self._addresses, self._services = held, services
                for attachment in self._attachments:
                    sentences += attachment.enforce(loaded.program("balance"))
                # Last, because it may fail for one address only: the others are ready then.
                sentences += self._refusal.enforce(held, _served(services))
        except NetlinkError as error:
            raise SystemFailure(f"The kernel refused a netlink request: {error}. Run as root.") from error
        return sentences

    def observe(self) -> DataPlaneReport:
        """See the contract. No address is ready before the first `enforce`."""
        loaded, tables, _ = self._started()
        program = loaded.program("balance")
        attached = all(attachment.is_attached(program) for attachment in self._attachments)
        with self._lock:
            return observe(loaded, tables, self._addresses if attached else frozenset(), self._services)

    def program(self) -> int:
        """The file descriptor of the loaded program, to run it on a packet without a network (BPF_PROG_TEST_RUN)."""
        return self._started()[0].program("balance")

    def dirty_slots(self) -> int:
        """Slots of all rings that changed hands and whose old flows may live on; 0 when all is quiet."""
        with self._lock:
            return self._started()[1].dirty_slots()

    def unresolved(self) -> frozenset[IPAddress]:
        """Backends whose next hop's MAC address is unknown: their packets are dropped until it answers."""
        with self._lock:
            return frozenset(self._started()[1].backends.unresolved())

    def memory(self, name: str) -> mmap:
        """A map of the program as memory, for tests that play the foreign hand."""
        return self._started()[0].map(name).memory()

    def close(self) -> None:
        """Let go of handles; the kernel forwards on, to the MAC addresses it has."""
        if self._pointing is not None:
            self._pointing.close()
        if self._tables is not None:
            self._tables.close()
        if self._loaded is not None:
            self._loaded.close()
        self._loaded = self._tables = self._pointing = None

    def _started(self) -> tuple[BpfObject, Tables, Pointing]:
        if self._loaded is None or self._tables is None or self._pointing is None:
            raise SystemFailure("The data plane is not started: call start() first.")
        return self._loaded, self._tables, self._pointing

    def _receiving(self) -> tuple[int, ...]:
        return tuple(attachment.find() for attachment in self._attachments)


def _sizes(max_services: int, flow_buckets: int) -> dict[str, int]:
    if flow_buckets & (flow_buckets - 1):
        raise SystemFailure(f"{flow_buckets} buckets of flows are no power of two: choose one.")
    backends = min(max_services * BACKENDS_PER_SERVICE, layout.BACKENDS_MAX)
    return {
        "rings": max_services,
        "sequences": max_services,
        "service_totals": max_services,
        "backends": backends,
        "backend_totals": backends,
        "flows": flow_buckets,
    }


def _served(services: tuple[VirtualService, ...]) -> frozenset[ServiceKey]:
    """The services that take new connections."""
    return frozenset(service.key for service in services if any(backend.weight for backend in service.backends))
