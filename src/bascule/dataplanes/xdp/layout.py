"""The tables of the XDP program as bytes (the structs of `bpf/layout.h`), and the names of its counters. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualService

# Change it whenever a struct of bpf/layout.h changes: pinned tables of another version are thrown away.
LAYOUT_VERSION = 1

SERVICE_SLOTS = 4096
SERVICE_PROBES = 16
RING_SLOTS = 65537
SEQUENCE_SLOTS = 4096
BACKENDS_MAX = 32768
BUCKET_FLOWS = 8
FLOW_TICK_LOG2_NS = 30

SERVICE_ROUND_ROBIN, SERVICE_SETTLED = 1, 2
BACKEND_RESOLVED, BACKEND_TRANSMIT = 1, 2

# The fates of packets, in the order of `enum fate` in bpf/counters.h, which explains each.
FATES = (
    "forwarded",
    "icmp_forwarded",
    "too_big_answered",
    "passed_too_short",
    "passed_arp",
    "passed_vlan",
    "passed_ipv6",
    "passed_not_ipv4",
    "passed_ip_options",
    "passed_fragment",
    "passed_not_tcp_udp",
    "passed_icmp",
    "passed_no_service",
    "refused_no_backend",
    "dropped_no_neighbour",
    "dropped_too_big",
    "dropped_encapsulation",
    "dropped_no_table",
)

_GOLDEN = 0x9E3779B97F4A7C15
_SERVICE = struct.Struct("<8sQIIII")
_BACKEND = struct.Struct("<8s4sI6s6sBBH")
_TOTAL = struct.Struct("<QQ")
SERVICE_SIZE = _SERVICE.size
BACKEND_SIZE = _BACKEND.size
COPY_SIZE = (SERVICE_SLOTS + SERVICE_PROBES) * SERVICE_SIZE
SERVICE_TABLE_HEADER = 8
SERVICE_TABLE_SIZE = SERVICE_TABLE_HEADER + 2 * COPY_SIZE
TOTAL_SIZE = _TOTAL.size
RING_SIZE = 4 * RING_SLOTS
SEQUENCE_SIZE = 16 + 2 * SEQUENCE_SLOTS
SEQUENCE_COUNTER_SIZE = 8
NO_SERVICE = bytes(8)


def service_key(key: ServiceKey) -> bytes:
    """The 8 bytes a packet is matched on."""
    return struct.pack(">BxH4s", key.protocol.number, key.port, key.address.packed)


def parse_service_key(data: bytes) -> ServiceKey:
    """The inverse of `service_key`."""
    number, port, address = struct.unpack(">BxH4s", data)
    protocol = next(protocol for protocol in Protocol if protocol.number == number)
    return ServiceKey(IPv4Address(address), protocol, port)


def service_seed(key: bytes, hash_seed: int) -> int:
    """Salt the load balancer's seed with the service, so that two services spread one client differently."""
    digest = hashlib.blake2b(key, digest_size=8, key=hash_seed.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")


def hash_mask(service: VirtualService) -> int:
    """Which of the ports the ring hash sees. The client's port is the low half, in network order."""
    if service.strategy is not Strategy.SOURCE_HASH:
        return 0xFFFFFFFF
    return 0x0000FFFF if service.hash_source_port else 0


def pack_service(service: VirtualService, index: int, *, settled: bool) -> bytes:
    """One entry of the service table."""
    key = service_key(service.key)
    flags = SERVICE_ROUND_ROBIN if service.strategy is Strategy.ROUND_ROBIN else 0
    flags |= SERVICE_SETTLED if settled else 0
    return _SERVICE.pack(key, service_seed(key, service.hash_seed), index, hash_mask(service), flags, 0)


def build_service_copy(entries: Iterable[bytes]) -> bytes:
    """One copy of the service table. Raises SystemFailure when an entry finds no slot within reach."""
    table = bytearray(COPY_SIZE)
    for entry in sorted(entries):
        home = int.from_bytes(entry[:8], "little") * _GOLDEN % 2**64 // (2**64 // SERVICE_SLOTS)
        for slot in range(home, home + SERVICE_PROBES):
            place = slice(slot * SERVICE_SIZE, (slot + 1) * SERVICE_SIZE)
            if table[place][:8] == NO_SERVICE:
                table[place] = entry
                break
        else:
            raise SystemFailure(
                f"The service table has no room for {parse_service_key(entry[:8])}: move a load balancer elsewhere."
            )
    return bytes(table)


def service_indexes(copy: bytes) -> dict[bytes, int]:
    """From service key to index, as a copy of the table has it."""
    entries = (_SERVICE.unpack_from(copy, offset) for offset in range(0, COPY_SIZE, SERVICE_SIZE))
    return {entry[0]: entry[2] for entry in entries if entry[0] != NO_SERVICE}


def without_settled(copy: bytes, keys: Set[bytes]) -> bytes:
    """The copy with the mark SETTLED taken off these services."""
    table = bytearray(copy)
    for offset in range(0, COPY_SIZE, SERVICE_SIZE):
        key, seed, index, mask, flags, unused = _SERVICE.unpack_from(copy, offset)
        if key in keys:
            _SERVICE.pack_into(table, offset, key, seed, index, mask, flags & ~SERVICE_SETTLED, unused)
    return bytes(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendEntry:
    """One backend of one service. Without `address` it is a tombstone: flows may still name its index.

    `service` is a service key; the MACs are 6 bytes; `inner_mtu` is the longest IP packet the tunnel carries.
    """

    service: bytes
    address: IPAddress | None
    weight: int = 0
    ifindex: int = 0
    destination_mac: bytes = bytes(6)
    source_mac: bytes = bytes(6)
    flags: int = 0
    inner_mtu: int = 0

    def pack(self) -> bytes:
        """The bytes of `struct backend`."""
        address = self.address.packed if self.address else bytes(4)
        macs = self.destination_mac, self.source_mac
        return _BACKEND.pack(self.service, address, self.ifindex, *macs, self.flags, self.weight, self.inner_mtu)


def parse_backend(data: bytes) -> BackendEntry | None:
    """The inverse of `BackendEntry.pack`; None for a free entry."""
    service, address, ifindex, destination, source, flags, weight, inner_mtu = _BACKEND.unpack(data)
    if service == NO_SERVICE:
        return None
    return BackendEntry(
        service=service,
        address=IPv4Address(address) if any(address) else None,
        weight=weight,
        ifindex=ifindex,
        destination_mac=destination,
        source_mac=source,
        flags=flags,
        inner_mtu=inner_mtu,
    )


def pack_sequence(indexes: tuple[int, ...]) -> bytes:
    """A round robin sequence without the counter in front of it, which belongs to the program."""
    slots = indexes + (0,) * (SEQUENCE_SLOTS - len(indexes))
    return struct.pack(f"<II{SEQUENCE_SLOTS}H", len(indexes), 0, *slots)


def pack_settings(tunnel_source: IPv4Network, flow_buckets: int) -> bytes:
    """The program's read-only data. Raises SystemFailure when the prefix is longer than /16."""
    if tunnel_source.prefixlen > 16:
        raise SystemFailure(f"The tunnel source {tunnel_source} is too narrow: give a /16 or a wider prefix.")
    base = IPv4Address(int(tunnel_source.network_address) & 0xFFFF0000)
    return base.packed + flow_buckets.to_bytes(4, "little")


def sum_totals(values: Iterable[bytes]) -> tuple[int, int]:
    """Packets and bytes over all CPUs."""
    pairs = [_TOTAL.unpack(value) for value in values]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def sum_fates(values: Iterable[bytes]) -> dict[str, int]:
    """Every named counter, over all CPUs."""
    rows = [struct.unpack(f"<{len(FATES)}Q", value) for value in values]
    return {name: sum(row[place] for row in rows) for place, name in enumerate(FATES)}
