"""/admin/v1/plan: what a change would do. The change's own route runs, and everything it wrote is rolled back."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from bascule.api.context import REHEARSED, Context, Ctx
from bascule.api.rehearsals import AT_MOST, RehearsalDatabase, RolledBack
from bascule.balancing import rehearsal
from bascule.balancing.forecast import Forecast
from bascule.balancing.rehearsal import Rehearsed
from bascule.model.errors import InvalidInput
from bascule.orchestration.jobs import walk
from bascule.orchestration.journal import written
from bascule.wire.admin_v1_plan import ForecastView, LoadBalancerPlanView, PlanCreate, PlannedStepView, PlanView

PATH = "/admin/v1/plan"
router = APIRouter(prefix=PATH, tags=["operators: plans"])


@router.post("")
async def make_plan(context: Ctx, request: Request, body: PlanCreate) -> PlanView:
    """What a change would do: jobs, nodes, connections. Nothing is written and no agent is asked.

    `method`, `path` and `body` are those of the change's own request, of either API.
    """
    if not body.path.startswith(("/v2/", "/admin/v1/")) or body.path.startswith(PATH) or "?" in body.path:
        raise InvalidInput("path is a change's own: it begins with /v2/ or /admin/v1/, without a query.", field="path")
    database = await run_in_threadpool(RehearsalDatabase, context.database)
    with suppress(RolledBack):
        await _run(request, body, replace(context, database=database))
    return await run_in_threadpool(_view, context, database)


async def _run(request: Request, body: PlanCreate, context: Context) -> None:
    """Call the route behind the gate, which was passed already. A refusal of the change is the answer."""
    content = json.dumps(body.body).encode()
    scope = {
        **request.scope,
        "method": body.method,
        "path": body.path,
        "raw_path": body.path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())],
        REHEARSED: context,
    }
    # Otherwise refusals would become answers to nobody.
    for name in ("starlette.exception_handlers", "path_params", "route", "endpoint", "router"):
        scope.pop(name, None)

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(_message: Message) -> None:
        """What the route answers without having written is of no interest."""

    await request.app.router(scope, receive, send)


def _view(context: Context, database: RehearsalDatabase) -> PlanView:
    if database.after is None:
        return PlanView(load_balancers=[], others=0)
    chosen = [each for each in database.touched if each in database.after.expectation.load_balancers]
    with context.database.read() as connection:
        before = rehearsal.read(connection, chosen)
    now = context.clock.now()
    found = [rehearsal.rehearse(before, database.after, each, now) for each in chosen]
    return PlanView(
        load_balancers=[_load_balancer_view(each, each.load_balancer_id) for each in found],
        others=max(0, len(database.touched) - AT_MOST),
    )


def _load_balancer_view(found: Rehearsed, load_balancer_id: UUID) -> LoadBalancerPlanView:
    nodes = [] if found.job is None else walk(found.job)
    return LoadBalancerPlanView(
        id=load_balancer_id,
        name=found.name,
        sentence=found.sentence,
        steps=[
            PlannedStepView(path=written(path), node=type(job).__name__.lower(), title=job.title) for path, job in nodes
        ],
        touches=list(found.touches),
        services=[_forecast_view(node, each) for node, each in found.forecasts],
        remarks=list(found.remarks),
    )


def _forecast_view(node: str, found: Forecast) -> ForecastView:
    return ForecastView(
        lb_node=node,
        service=str(found.service),
        moved=found.moved,
        cut=found.cut,
        connections=found.connections,
        connections_cut=found.connections_cut,
        remembered_for=found.remembered_for,
        sentence=found.sentence,
    )
