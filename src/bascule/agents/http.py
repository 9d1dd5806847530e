"""What both agents' HTTP servers share: who may ask, how refusals look, how much is read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from bascule.agents.fencing import C
from bascule.agents.publisher import ReportPublisher
from bascule.events.agent_reports import Report
from bascule.model.configurations import Version
from bascule.model.errors import BasculeError, Forbidden, InvalidInput, NotFound, SystemFailure, TooLarge
from bascule.wire.problems import MEDIA_TYPE, Problem, problem_of

BODY_MAX = 1024 * 1024  # bytes

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")


class RunningAgent(Protocol):
    """What both agents have in common."""

    async def start(self) -> None:
        """Resume from disk."""

    async def close(self) -> None:
        """Stop; the kernel goes on."""

    def report(self) -> Report:
        """All of the machine."""

    async def delete(self, load_balancer_id: UUID, version: Version) -> None:
        """Let go of a load balancer. Raises StaleCommand, or SystemFailure when disk or kernel refuses."""


def make_app(
    agent: RunningAgent, router: APIRouter, *, token: str, metrics: Collector, publisher: ReportPublisher | None = None
) -> FastAPI:
    """The application, with which the agent starts and stops, and the publisher of its reports.

    `router` and deletion are behind the token, `/v1/health` and `/metrics` in the open.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await agent.start()
        publishing = None if publisher is None else asyncio.create_task(publisher.run(agent.report))
        yield
        if publisher is not None and publishing is not None:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await publisher.close()
        await agent.close()

    @router.delete("/v1/load-balancers/{load_balancer_id}", status_code=204)
    async def delete(load_balancer_id: UUID, epoch: int, generation: int, step: int = 0) -> None:
        await agent.delete(load_balancer_id, Version(epoch, generation, step))

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router, dependencies=[Depends(_gate(token))])
    registry = CollectorRegistry()
    registry.register(metrics)
    if publisher is not None:
        registry.register(publisher)

    @app.get("/v1/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics_text() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    _add_refusals(app)
    return app


def _gate(token: str) -> Callable[[Request], Awaitable[None]]:
    expected = f"Bearer {token}".encode()

    async def gate(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise Forbidden("This agent wants `Authorization: Bearer <its token>`: use the token of its settings.")

    return gate


def answer_unless_known(request: Request, at_rest: bytes, body: Callable[[], bytes]) -> Response:
    """The body, or 304 when the asker has one that differs at most in counters.

    The ETag is of `at_rest`, the body without its counters, and so a weak one (RFC 9110, sections 8.8.1 and 13.1.2):
    whoever wants to know the counters asks without If-None-Match.
    """
    tag = f'W/"{hashlib.blake2b(at_rest, digest_size=16).hexdigest()}"'
    if tag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
    return Response(body(), media_type="application/json", headers={"ETag": tag})


async def read(request: Request, kind: TypeAdapter[T]) -> T:
    """The body as a `kind`. Raises TooLarge over 1 MiB, and InvalidInput with the first wrong field's path."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            raise TooLarge(f"The body is over {BODY_MAX} bytes: one load balancer's configuration is far smaller.")
    try:
        return kind.validate_json(bytes(body))
    except ValidationError as error:
        raise _invalid(error.errors()[0]) from error


async def read_configuration(request: Request, kind: TypeAdapter[C], load_balancer_id: UUID) -> C:
    """The body, which must be of the load balancer in the path. Raises as `read`, and InvalidInput for another's."""
    configuration = await read(request, kind)
    if configuration.load_balancer_id != load_balancer_id:
        raise InvalidInput("The body is of another load balancer than the path.", field="load_balancer_id")
    return configuration


def _invalid(first: Any) -> InvalidInput:
    place = ".".join(str(part) for part in first["loc"])
    return InvalidInput(f"{place or 'The body'}: {first['msg']}.", field=place or "body")


def _refuse(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.model_dump(), status_code=problem.status, media_type=MEDIA_TYPE)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(BasculeError)
    async def ours(request: Request, error: BasculeError) -> Response:
        log.warning("refused", method=request.method, path=request.url.path, code=error.code, reason=error.sentence)
        return _refuse(problem_of(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _refuse(problem_of(_invalid({**first, "loc": first["loc"][1:]})))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        sentence = f"{request.method} {request.url.path} is not served here: see bascule.wire.agent_v1 for what is."
        problem = problem_of(NotFound(sentence)).model_copy(update={"status": error.status_code})
        return _refuse(problem)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
        sentence = f"The agent failed in a way nobody foresaw ({type(error).__name__}): its log tells more."
        return _refuse(problem_of(SystemFailure(sentence)))
