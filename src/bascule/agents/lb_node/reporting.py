"""What an LB node tells of one load balancer: pure."""

from __future__ import annotations

from collections.abc import Mapping

from bascule.agents.lb_node.enforcement import Observation
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import BalancerConfiguration
from bascule.model.reports import BackendHealth, BalancerReport


def balancer_report(
    configuration: BalancerConfiguration, seen: Observation, verdicts: Mapping[TargetKey, Verdict]
) -> BalancerReport:
    """As of the pass that saw this."""
    health = tuple(
        BackendHealth(
            service_id=service.id, instance_id=backend.instance_id, health=verdict.health, message=verdict.message
        )
        for service in configuration.services
        for backend in service.backends
        for verdict in [verdicts.get(TargetKey(service.id, backend.instance_id), Verdict())]
    )
    return BalancerReport(
        configuration=configuration,
        # An order that no pass has carried out yet may differ from what the data plane does.
        ready=configuration.address in seen.data_plane.ready and configuration in seen.of,
        announced=configuration.address in seen.announcer.announced,
        health=health,
    )
