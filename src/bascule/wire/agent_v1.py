"""Bodies between the control plane and the agents, version 1: the model's own configurations and reports as JSON.

    GET    /v1/report                     -> LBNodeReport | HypervisorReport, with a weak ETag
                                          If-None-Match -> 304 when at most counters have changed
    PUT    /v1/load-balancers/{id}        BalancerConfiguration -> BalancerReport
                                          ForwardingConfiguration -> ForwardingConfiguration
    DELETE /v1/load-balancers/{id}        ?epoch=&generation= -> 204
    GET    /v1/health                     -> 200 (no token needed)
    GET    /metrics                       -> Prometheus text (no token needed)

Requests carry `Authorization: Bearer <the node's token>`. A refusal is an RFC 9457 problem (`bascule.wire.problems`);
409 `stale-command` means the agent already obeys a newer version.
"""

from __future__ import annotations

from pydantic import TypeAdapter

from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport

BALANCER_CONFIGURATION: TypeAdapter[BalancerConfiguration] = TypeAdapter(BalancerConfiguration)
FORWARDING_CONFIGURATION: TypeAdapter[ForwardingConfiguration] = TypeAdapter(ForwardingConfiguration)
BALANCER_REPORT: TypeAdapter[BalancerReport] = TypeAdapter(BalancerReport)
LB_NODE_REPORT: TypeAdapter[LBNodeReport] = TypeAdapter(LBNodeReport)
HYPERVISOR_REPORT: TypeAdapter[HypervisorReport] = TypeAdapter(HypervisorReport)
