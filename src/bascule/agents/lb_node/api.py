"""The LB agent over HTTP (`bascule.wire.agent_v1`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import APIRouter, FastAPI, Request, Response

from bascule.agents.http import make_app, read_configuration
from bascule.agents.lb_node.agent import LBAgent
from bascule.agents.lb_node.metrics import LBNodeMetrics
from bascule.model.configurations import Version
from bascule.wire.agent_v1 import BALANCER_CONFIGURATION, BALANCER_REPORT, LB_NODE_REPORT


def lb_agent_app(agent: LBAgent, token: str) -> FastAPI:
    """The application; the agent starts and stops with it."""
    router = APIRouter()

    @router.get("/v1/report")
    async def report() -> Response:
        return Response(LB_NODE_REPORT.dump_json(agent.report()), media_type="application/json")

    @router.put("/v1/load-balancers/{load_balancer_id}")
    async def put(load_balancer_id: UUID, request: Request) -> Response:
        configuration = await read_configuration(request, BALANCER_CONFIGURATION, load_balancer_id)
        return Response(BALANCER_REPORT.dump_json(await agent.put(configuration)), media_type="application/json")

    @router.delete("/v1/load-balancers/{load_balancer_id}", status_code=204)
    async def delete(load_balancer_id: UUID, epoch: int, generation: int) -> None:
        await agent.delete(load_balancer_id, Version(epoch, generation))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await agent.start()
        yield
        await agent.close()

    return make_app(router, token=token, metrics=LBNodeMetrics(agent.report), lifespan=lifespan)
