"""What the kernel says about the data plane: what is in place, and the counters."""

from __future__ import annotations

from collections.abc import Mapping, Set

from bascule.dataplanes.xdp import layout
from bascule.dataplanes.xdp.backends import Placed
from bascule.dataplanes.xdp.refusal import addresses_on_loopback
from bascule.dataplanes.xdp.tables import Tables
from bascule.model.addresses import IPAddress, address_order
from bascule.model.reports import DataPlaneReport, Traffic, VirtualBackendReport, VirtualServiceReport
from bascule.model.virtual_services import VirtualService
from bascule.system.bpf import BpfMap, BpfObject


def observe(
    loaded: BpfObject, tables: Tables, addresses: Set[IPAddress], services: tuple[VirtualService, ...]
) -> DataPlaneReport:
    """`addresses` are those that may be ready.

    They are if they are on `lo`, all their services in the kernel, and some backend that serves can be reached.
    """
    in_kernel = tables.services.in_kernel()
    wanted = {layout.service_key(service.key): service for service in services}
    incomplete = {service.key.address for packed, service in wanted.items() if packed not in in_kernel}
    ours, others = addresses_on_loopback()
    remaining = tables.remaining()
    counters = layout.sum_fates(loaded.map("counters").get_per_cpu(bytes(4)))
    return DataPlaneReport(
        ready=frozenset(addresses & (ours | others)) - incomplete - _cut_off(tables.backends.cut_off(), services),
        services=tuple(
            _service(loaded, tables, packed, index, wanted=wanted.get(packed), remaining=remaining)
            for packed, index in sorted(in_kernel.items())
        ),
        counters=counters,
    )


def _cut_off(lost: Set[IPAddress], services: tuple[VirtualService, ...]) -> set[IPAddress]:
    """The VIPs that could reach backends once, and reach none of them now. Without any, traffic is refused as ever."""
    serving: dict[IPAddress, set[IPAddress]] = {}
    for service in services:
        found = {each.address for each in service.backends if each.weight}
        serving.setdefault(service.key.address, set()).update(found)
    return {vip for vip, backends in serving.items() if backends and backends <= lost}


def _service(
    loaded: BpfObject,
    tables: Tables,
    packed: bytes,
    index: int,
    *,
    wanted: VirtualService | None,
    remaining: Mapping[Placed, int | None],
) -> VirtualServiceReport:
    key = layout.parse_service_key(packed)
    totals = loaded.map("backend_totals")
    backends = (
        VirtualBackendReport(
            address=address,
            weight=tables.backends.entries[place].weight,
            port=key.port,
            traffic=_traffic(totals, place),
            remaining=remaining.get((packed, address)),
        )
        for address, place in sorted(tables.backends.indexes(packed).items(), key=lambda item: address_order(item[0]))
    )
    traffic = _traffic(loaded.map("service_totals"), index)
    scheduler = "" if wanted is None else wanted.strategy
    return VirtualServiceReport(key=key, scheduler=scheduler, traffic=traffic, backends=tuple(backends))


def _traffic(totals: BpfMap, index: int) -> Traffic:
    packets, size = layout.sum_totals(totals.get_per_cpu(index.to_bytes(4, "little")))
    return Traffic(packets=packets, bytes=size)
