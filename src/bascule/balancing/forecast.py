"""What a change of one service on one LB node does to its connections, as far as that can be known before. Pure.

For the rings of the data plane xdp it is computed from the very tables that the node will make. A slot whose owner
stays with the service but loses the slot is remembered (`dataplanes/xdp/history.py`): its connections stay where they
are, new ones go elsewhere. Connections to whoever leaves the service break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import ne

from bascule.dataplanes.xdp.layout import RING_SLOTS
from bascule.dataplanes.xdp.maglev import Share, fill
from bascule.dataplanes.xdp.tables import IdleTimes
from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration
from bascule.model.data_planes import DataPlaneName
from bascule.model.health_checks import Health
from bascule.model.reports import BalancerState
from bascule.model.strategies import Strategy
from bascule.model.virtual_services import ServiceKey

_ON_RINGS = {Strategy.MAGLEV_HASH, Strategy.SOURCE_HASH}
_COUNTS_NONE = frozenset({DataPlaneName.XDP.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One service on one LB node. Shares are of its ring's slots, 0 to 1; None is not known.

    `moved`: new connections that go to another instance than before. `cut`: connections that break. `connections` are
    open now, `connections_cut` of them to instances that leave. `remembered_for`: seconds for which at least the node
    remembers where older connections of moved slots are.
    """

    service: ServiceKey
    moved: float | None = None
    cut: float | None = None
    connections: int | None = None
    connections_cut: int | None = None
    remembered_for: float | None = None
    sentence: str = ""


def forecast(state: BalancerState, after: BalancerConfiguration | None) -> Iterator[Forecast]:
    """Of every service that changes; `state` is what the node has, `after` what it shall have (None: nothing)."""
    before = state.balancer.configuration
    wanted = {} if after is None else _by_key(after)
    for key, service in _by_key(before).items():
        if after is None:
            yield _with_counts(state, key, None, Forecast(service=key, sentence="The node lets go of it: see above."))
        elif key not in wanted:
            gone = Forecast(service=key, moved=1.0, cut=1.0, sentence="The service goes, with its connections.")
            yield _with_counts(state, key, None, gone)
        elif wanted[key] != service:
            yield _with_counts(state, key, wanted[key], _changed(state, key, service, wanted[key]))
    for key in wanted.keys() - _by_key(before).keys():
        yield Forecast(
            service=key, moved=0.0, cut=0.0, connections=0, connections_cut=0, sentence="The service is new."
        )


def _by_key(configuration: BalancerConfiguration) -> Mapping[ServiceKey, ServiceConfiguration]:
    return {ServiceKey(configuration.address, each.protocol, each.port): each for each in configuration.services}


def _changed(
    state: BalancerState, key: ServiceKey, before: ServiceConfiguration, after: ServiceConfiguration
) -> Forecast:
    plane = state.data_plane_name
    if plane != DataPlaneName.XDP or before.strategy not in _ON_RINGS or after.strategy is not before.strategy:
        how = after.strategy if after.strategy is before.strategy else f"from {before.strategy} to {after.strategy}"
        return Forecast(service=key, sentence=f"Not known for {how} on {plane or 'an unknown data plane'}.")
    if before.hash_source_port != after.hash_source_port:
        return Forecast(service=key, sentence="Not known: another part of packets is hashed.")
    seed = state.balancer.configuration.hash_seed
    well_before, well_after = _well(state, before), _well(state, after)
    labels = {address: label for label, address in enumerate(sorted({*well_before, *well_after}, key=address_order), 1)}
    former = fill(_shares(well_before, labels), seed)
    owners = Counter(former)
    moved = sum(map(ne, former, fill(_shares(well_after, labels), seed)))
    cut = sum(owners[labels[address]] for address in well_before.keys() - well_after.keys())
    return Forecast(
        service=key,
        moved=moved / RING_SLOTS,
        cut=cut / RING_SLOTS,
        remembered_for=IdleTimes().until_settled(key.protocol) if moved > cut else 0.0,
    )


def _well(state: BalancerState, service: ServiceConfiguration) -> dict[IPAddress, Backend]:
    """Those that are in the ring: not known to be ill. New ones are taken to be well."""
    ill = {
        verdict.instance_id
        for verdict in state.balancer.health
        if verdict.service_id == service.id and verdict.health is Health.FAILURE
    }
    return {backend.address: backend for backend in service.backends if backend.instance_id not in ill}


def _shares(backends: Mapping[IPAddress, Backend], labels: Mapping[IPAddress, int]) -> list[Share]:
    return [Share(address, backend.weight, labels[address]) for address, backend in backends.items()]


def _with_counts(
    state: BalancerState, key: ServiceKey, after: ServiceConfiguration | None, found: Forecast
) -> Forecast:
    """Connections, where the data plane counts them."""
    report = next((each for each in state.services if each.key == key), None)
    if report is None or state.data_plane_name in _COUNTS_NONE:
        return found
    staying = set() if after is None else {backend.address for backend in after.backends}
    counts = {backend.address: backend.active_connections for backend in report.backends}
    return Forecast(
        service=key,
        moved=found.moved,
        cut=found.cut,
        connections=sum(counts.values()),
        connections_cut=sum(count for address, count in counts.items() if address not in staying),
        remembered_for=found.remembered_for,
        sentence=found.sentence,
    )
