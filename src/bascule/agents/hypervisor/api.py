"""The hypervisor agent over HTTP (`bascule.wire.agent_v1`)."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, FastAPI, Request, Response

from bascule.agents.http import answer_unless_known, make_app, read_configuration
from bascule.agents.hypervisor.agent import HypervisorAgent
from bascule.agents.hypervisor.metrics import HypervisorMetrics
from bascule.agents.publisher import ReportPublisher
from bascule.model.reports import without_totals
from bascule.wire.agent_v1 import FORWARDING_CONFIGURATION, HYPERVISOR_REPORT


def hypervisor_agent_app(agent: HypervisorAgent, token: str, publisher: ReportPublisher | None = None) -> FastAPI:
    """The application; the agent starts and stops with it, and so does what publishes its reports."""
    router = APIRouter()

    @router.get("/v1/report")
    async def report(request: Request) -> Response:
        found = agent.report()
        at_rest = HYPERVISOR_REPORT.dump_json(without_totals(found))
        return answer_unless_known(request, at_rest, lambda: HYPERVISOR_REPORT.dump_json(found))

    @router.put("/v1/load-balancers/{load_balancer_id}")
    async def put(load_balancer_id: UUID, request: Request) -> Response:
        configuration = await read_configuration(request, FORWARDING_CONFIGURATION, load_balancer_id)
        obeyed = await agent.put(configuration)
        return Response(FORWARDING_CONFIGURATION.dump_json(obeyed), media_type="application/json")

    return make_app(agent, router, token=token, metrics=HypervisorMetrics(agent.report), publisher=publisher)
