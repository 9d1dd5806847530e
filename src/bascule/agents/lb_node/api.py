"""The LB agent over HTTP (`bascule.wire.agent_v1`)."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from bascule.agents.http import answer_unless_known, make_app, read_configuration
from bascule.agents.lb_node.agent import LBAgent
from bascule.agents.lb_node.metrics import LBNodeMetrics
from bascule.agents.publisher import ReportPublisher
from bascule.model.reports import without_counters
from bascule.wire.agent_v1 import BALANCER_CONFIGURATION, BALANCER_REPORT, LB_NODE_REPORT


def lb_agent_app(agent: LBAgent, token: str, publisher: ReportPublisher | None = None) -> FastAPI:
    """The application; the agent starts and stops with it, and so does what publishes its reports."""
    # Whoever comes this far has shown the token.
    router = APIRouter(dependencies=[Depends(agent.heard)])

    @router.get("/v1/report")
    async def report(request: Request) -> Response:
        found = agent.report()
        at_rest = LB_NODE_REPORT.dump_json(without_counters(found))
        return answer_unless_known(request, at_rest, lambda: LB_NODE_REPORT.dump_json(found))

    @router.put("/v1/load-balancers/{load_balancer_id}")
    async def put(load_balancer_id: UUID, request: Request) -> Response:
        configuration = await read_configuration(request, BALANCER_CONFIGURATION, load_balancer_id)
        return Response(BALANCER_REPORT.dump_json(await agent.put(configuration)), media_type="application/json")

    return make_app(agent, router, token=token, metrics=LBNodeMetrics(agent.report), publisher=publisher)
