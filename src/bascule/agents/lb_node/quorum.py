"""Whether a service has its quorum: pure. The state before is given, the state after is returned.

keepalived's rule (keepalived.conf(5), `quorum` and `hysteresis`): a service that is down comes up when the weights of
its healthy instances sum up to quorum + hysteresis; one that is up goes down when they fall below quorum - hysteresis,
or to nothing. A service begins as up. The state is not kept over a restart of the agent: inside the band between the
two thresholds a service is up again then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from bascule.healthchecks.interface import HealthEvent, TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration
from bascule.model.health_checks import Health


def has_quorum(before: bool, weight: int, quorum: int, hysteresis: int) -> bool:
    """Whether a service with this sum of weights is up."""
    if before:
        return weight > 0 and weight >= quorum - hysteresis
    return weight >= quorum + hysteresis


def weight_of(backend: Backend, verdict: Verdict) -> int:
    """The instance's share: what its check says, or what it was given. Given 0, it gets nothing new."""
    return backend.weight if verdict.weight is None or backend.weight == 0 else verdict.weight


def quorums(
    configurations: Iterable[BalancerConfiguration],
    verdicts: Mapping[TargetKey, Verdict],
    before: Mapping[UUID, bool],
) -> dict[UUID, bool]:
    """The services' states now. One whose state is not known yet has none until every instance of it is judged."""
    after = {}
    for service in (service for each in configurations for service in each.services):
        if service.id not in before and not _judged(service, verdicts):
            continue
        check = service.health_check
        weight = _weight(service, verdicts)
        after[service.id] = has_quorum(before.get(service.id, True), weight, check.quorum, check.hysteresis)
    return after


def events(
    configurations: Iterable[BalancerConfiguration], before: Mapping[UUID, bool], after: Mapping[UUID, bool]
) -> tuple[HealthEvent, ...]:
    """What went up or down between two states."""
    return tuple(
        HealthEvent("service", service.id, configuration.address, service.port, after[service.id])
        for configuration in configurations
        for service in configuration.services
        if service.id in after and after[service.id] != before.get(service.id)
    )


def _judged(service: ServiceConfiguration, verdicts: Mapping[TargetKey, Verdict]) -> bool:
    return all(_verdict(service, backend, verdicts).health is not Health.UNKNOWN for backend in service.backends)


def _weight(service: ServiceConfiguration, verdicts: Mapping[TargetKey, Verdict]) -> int:
    judged = ((backend, _verdict(service, backend, verdicts)) for backend in service.backends)
    return sum(weight_of(backend, verdict) for backend, verdict in judged if verdict.health is Health.SUCCESS)


def _verdict(service: ServiceConfiguration, backend: Backend, verdicts: Mapping[TargetKey, Verdict]) -> Verdict:
    return verdicts.get(TargetKey(service.id, backend.instance_id), Verdict())
