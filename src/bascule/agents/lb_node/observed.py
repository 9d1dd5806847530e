"""The health of instances as a data plane observes it that checks them itself: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bascule.healthchecks.interface import HealthEvent, TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration
from bascule.model.health_checks import Health
from bascule.model.reports import DataPlaneReport, VirtualBackendReport
from bascule.model.virtual_services import ServiceKey

_Item = tuple[BalancerConfiguration, ServiceConfiguration, Backend]


def verdicts(
    configurations: Iterable[BalancerConfiguration], report: DataPlaneReport, before: Mapping[TargetKey, Verdict]
) -> dict[TargetKey, Verdict]:
    """The verdicts now. One that the data plane does not know yet, as after its restart, is as before."""
    seen = {service.key: {each.address: each for each in service.backends} for service in report.services}
    found = {}
    for configuration, service, backend in _all(configurations):
        target = TargetKey(service.id, backend.instance_id)
        key = ServiceKey(configuration.address, service.protocol, service.port)
        verdict = _verdict(service, seen.get(key, {}).get(backend.address)) or before.get(target)
        if verdict is not None:
            found[target] = verdict
    return found


def events(
    configurations: Iterable[BalancerConfiguration],
    before: Mapping[TargetKey, Verdict],
    after: Mapping[TargetKey, Verdict],
) -> tuple[HealthEvent, ...]:
    """Which instances went up or down between two states."""
    return tuple(
        HealthEvent("backend", service.id, backend.address, service.health_check.port, after[target].is_up)
        for _, service, backend in _all(configurations)
        for target in [TargetKey(service.id, backend.instance_id)]
        if target in after and after[target].health is not before.get(target, Verdict()).health
    )


def _all(configurations: Iterable[BalancerConfiguration]) -> Iterator[_Item]:
    for configuration in configurations:
        for service in configuration.services:
            for backend in service.backends:
                yield configuration, service, backend


def _verdict(service: ServiceConfiguration, seen: VirtualBackendReport | None) -> Verdict | None:
    if seen is None or seen.health in (None, Health.UNKNOWN):
        return None
    # A script's weight is told by what the instance serves with; while the sorry server serves, it is not known.
    by_script = service.health_check.script_weight and seen.health is Health.SUCCESS and seen.weight
    return Verdict(health=seen.health, weight=seen.weight if by_script else None)
