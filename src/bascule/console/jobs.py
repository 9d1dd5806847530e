"""Jobs: what the orchestrator did and does."""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qs
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from bascule.client.clients import AdminClient
from bascule.console import tree
from bascule.console.live import Parts, Show, follow, renderer, shown
from bascule.console.markup import fill
from bascule.console.words import Look
from bascule.model.errors import Conflict, Forbidden
from bascule.wire.admin_v1_work import JobTreeView, JobView

router = APIRouter(default_response_class=HTMLResponse)
JOBS_SHOWN = 50
_FORM_MAX = 4096  # bytes


@router.get("/")
def list_jobs(request: Request, entity: UUID | None = None) -> HTMLResponse:
    """The newest jobs first, of one load balancer or of all."""
    parts = shown(_jobs(request, entity))
    stream = "/jobs.stream" if entity is None else f"/jobs.stream?entity={entity}"
    return _page("jobs.html", parts, stream, entity=entity, most=JOBS_SHOWN)


@router.get("/jobs.stream", response_class=EventSourceResponse)
async def follow_jobs(request: Request, entity: UUID | None = None) -> AsyncIterator[ServerSentEvent]:
    """The list's parts as they change."""
    async for event in follow(_jobs(request, entity), request.app.state.leaving):
        yield event


@router.get("/jobs/{id}")
def show_job(request: Request, id: UUID) -> HTMLResponse:  # noqa: A002
    """One job's tree."""
    return _page("job.html", shown(_job(request, id)), f"/jobs/{id}/stream", id=id)


@router.get("/jobs/{id}/stream", response_class=EventSourceResponse)
async def follow_job(request: Request, id: UUID) -> AsyncIterator[ServerSentEvent]:  # noqa: A002
    """The tree's parts as they change."""
    async for event in follow(_job(request, id), request.app.state.leaving):
        yield event


@router.post("/jobs/{id}/cancel")
async def cancel_job(request: Request, id: UUID) -> RedirectResponse:  # noqa: A002
    """Have a running job end. Raises Forbidden without the token that only our own pages carry."""
    form = parse_qs((await _start_of(request)).decode("ascii", "replace"))
    given = form.get("token", [""])[0]
    if not hmac.compare_digest(given.encode(), request.app.state.form_token.encode()):
        raise Forbidden("This form is of an earlier console: go back, reload the page, and try again.")
    with suppress(Conflict):  # It has ended meanwhile, and the page says how.
        await run_in_threadpool(_client(request).jobs.cancel, id)
    return RedirectResponse(f"/jobs/{id}", status_code=HTTPStatus.SEE_OTHER)


def _jobs(request: Request, entity: UUID | None) -> Show:
    client = _client(request)

    def render(found: list[JobView]) -> Parts:
        running = sum(job.ended_at is None for job in found)
        status = f"{running} running." if running else "None is running."
        return Parts(status=status, live=fill("_jobs.html", jobs=found))

    return renderer(lambda: client.jobs.list_all(entity=entity, limit=JOBS_SHOWN), render)


def _job(request: Request, job_id: UUID) -> Show:
    client, token = _client(request), request.app.state.form_token

    def render(job: JobTreeView) -> Parts:
        nodes = tree.grow(job)
        counts = tree.count(nodes)
        total, done = sum(counts.values()), counts.get(Look.DONE, 0)
        live = fill("_job.html", job=job, nodes=nodes, culprit=tree.culprit(nodes), total=total, done=done, token=token)
        return Parts(status=tree.tell(job, counts), live=live, ended=job.ended_at is not None)

    return renderer(lambda: client.jobs.get(job_id), render)


def _client(request: Request) -> AdminClient:
    client: AdminClient = request.app.state.client
    return client


def _page(template: str, parts: Parts, stream: str, **values: object) -> HTMLResponse:
    following = None if parts.ended else stream
    text = fill(template, parts=parts, stream=following, now=round(time.time(), 3), **values)
    return HTMLResponse(text, status_code=parts.code)


async def _start_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_MAX:
            break
    return bytes(body[:_FORM_MAX])
