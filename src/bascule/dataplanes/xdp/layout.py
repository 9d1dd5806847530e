"""The tables of the XDP program as bytes (the structs of `bpf/layout.h`), and the names of its counters. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualService

# Change it whenever a struct of bpf/layout.h changes: pinned tables of another version are thrown away.
LAYOUT_VERSION = 3

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
    "second_chance_given",
    "too_big_answered",
    "passed_too_short",
    "passed_arp",
    "passed_ndp",
    "passed_vlan",
    "passed_not_ip",
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
_SERVICE = struct.Struct("<8sQIIII16s")
_BACKEND = struct.Struct("<8s16s16sI6s6sBBHB3x")
_TOTAL = struct.Struct("<QQ")
SERVICE_SIZE = _SERVICE.size
BACKEND_SIZE = _BACKEND.size
COPY_SIZE = (SERVICE_SLOTS + SERVICE_PROBES) * SERVICE_SIZE
SERVICE_TABLE_HEADER = 8
SERVICE_TABLE_SIZE = SERVICE_TABLE_HEADER + 2 * COPY_SIZE
TOTAL_SIZE = _TOTAL.size
RING_SIZE = 4 * RING_SLOTS
# The kernel rounds the values of an array up to 8 bytes.
RING_STRIDE = (RING_SIZE + 7) & ~7
SEQUENCE_SIZE = 16 + 2 * SEQUENCE_SLOTS
SEQUENCE_COUNTER_SIZE = 8
NO_SERVICE = bytes(8)
_IPV6 = 6
_HEAD = struct.Struct(">BBH4s")


def service_key(key: ServiceKey) -> bytes:
    """What a packet is matched on: 8 bytes, and with IPv6 the 16 of the VIP behind them."""
    address = key.address.packed
    if key.address.version == _IPV6:
        return _HEAD.pack(key.protocol.number, _IPV6, key.port, _xor_words(address)) + address
    return _HEAD.pack(key.protocol.number, 0, key.port, address)


def parse_service_key(data: bytes) -> ServiceKey:
    """The inverse of `service_key`."""
    number, _, port, address = _HEAD.unpack_from(data)
    protocol = next(protocol for protocol in Protocol if protocol.number == number)
    return ServiceKey(ip_address(data[8:] or address), protocol, port)


def _xor_words(address: bytes) -> bytes:
    first, second, third, fourth = struct.unpack("=4I", address)
    return struct.pack("=I", first ^ second ^ third ^ fourth)


def _split(key: bytes) -> tuple[bytes, bytes]:
    """The two parts of a key, as the structs have them."""
    return key[:8], key[8:].ljust(16, b"\0")


def _joined(head: bytes, vip: bytes) -> bytes:
    return head + vip if head[1] == _IPV6 else head


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
    head, vip = _split(key)
    flags = SERVICE_ROUND_ROBIN if service.strategy is Strategy.ROUND_ROBIN else 0
    flags |= SERVICE_SETTLED if settled else 0
    return _SERVICE.pack(head, service_seed(key, service.hash_seed), index, hash_mask(service), flags, 0, vip)


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
            key = parse_service_key(_key_of(entry))
            raise SystemFailure(f"The service table has no room for {key}: move a load balancer elsewhere.")
    return bytes(table)


def _key_of(entry: bytes) -> bytes:
    fields = _SERVICE.unpack(entry)
    return _joined(fields[0], fields[-1])


def service_indexes(copy: bytes) -> dict[bytes, int]:
    """From service key to index, as a copy of the table has it."""
    entries = (_SERVICE.unpack_from(copy, offset) for offset in range(0, COPY_SIZE, SERVICE_SIZE))
    return {_joined(entry[0], entry[-1]): entry[2] for entry in entries if entry[0] != NO_SERVICE}


def without_settled(copy: bytes, keys: Set[bytes]) -> bytes:
    """The copy with the mark SETTLED taken off these services."""
    table = bytearray(copy)
    for offset in range(0, COPY_SIZE, SERVICE_SIZE):
        head, seed, index, mask, flags, unused, vip = _SERVICE.unpack_from(copy, offset)
        if _joined(head, vip) in keys:
            _SERVICE.pack_into(table, offset, head, seed, index, mask, flags & ~SERVICE_SETTLED, unused, vip)
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
        family, address = (self.address.version, self.address.packed) if self.address else (0, b"")
        macs = self.destination_mac, self.source_mac
        way = self.ifindex, *macs, self.flags, self.weight, self.inner_mtu
        return _BACKEND.pack(*_split(self.service), address, *way, family)


_TUNNEL_ENDS: Mapping[int, Callable[[bytes], IPAddress]] = {
    4: lambda packed: IPv4Address(packed[:4]),
    6: IPv6Address,
}


def parse_backend(data: bytes) -> BackendEntry | None:
    """The inverse of `BackendEntry.pack`; None for a free entry."""
    head, vip, address, ifindex, destination, source, flags, weight, inner_mtu, family = _BACKEND.unpack(data)
    if head == NO_SERVICE:
        return None
    return BackendEntry(
        service=_joined(head, vip),
        address=_TUNNEL_ENDS[family](address) if family in _TUNNEL_ENDS else None,
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


def pack_settings(
    tunnel_source: IPv4Network, tunnel_source_v6: IPv6Network, flow_buckets: int, *, second_chance: bool
) -> bytes:
    """The program's read-only data. Raises SystemFailure when a prefix is longer than /16, or /96 of IPv6."""
    for source, longest in ((tunnel_source, 16), (tunnel_source_v6, 96)):
        if source.prefixlen > longest:
            raise SystemFailure(f"The tunnel source {source} is too narrow: give a /{longest} or a wider prefix.")
    base, base_v6 = tunnel_source.network_address.packed, tunnel_source_v6.network_address.packed
    sources = base[:2] + bytes(2) + flow_buckets.to_bytes(4, "little") + base_v6[:12]
    return sources + int(second_chance).to_bytes(4, "little")


def sum_totals(values: Iterable[bytes]) -> tuple[int, int]:
    """Packets and bytes over all CPUs."""
    pairs = [_TOTAL.unpack(value) for value in values]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def sum_fates(values: Iterable[bytes]) -> dict[str, int]:
    """Every named counter, over all CPUs."""
    rows = [struct.unpack(f"<{len(FATES)}Q", value) for value in values]
    return {name: sum(row[place] for row in rows) for place, name in enumerate(FATES)}
