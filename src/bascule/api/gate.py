"""The gate before every route: bounds the body and knows the sender. A new path is closed until it is opened here."""

from __future__ import annotations

import hmac
from http import HTTPStatus

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bascule.api.authentication import verify
from bascule.api.context import Context
from bascule.api.problems import response_of
from bascule.model.errors import BasculeError, Forbidden, TooLarge

log = structlog.stdlib.get_logger(__name__)
BODY_MAX = 64 * 1024
_OPEN_PATHS = {"/v2/zone", "/v1/health", "/openapi.json", "/docs", "/docs/oauth2-redirect"}


class Gate:
    """ASGI middleware. The body is read whole here, because the signature covers it, and handed on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 403 or 413 in the route's place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(Request(scope, receive))
            sender = await _sender(Request(scope), body)
        except BasculeError as error:
            response = response_of(error)
            if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                # What was not read would be taken for the next request on this connection.
                response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), _recorded(scope, send, sender))


async def _sender(request: Request, body: bytes) -> str:
    """Who asks. Raises Forbidden."""
    context: Context = request.app.state.context
    path = request.scope["path"]
    if path in _OPEN_PATHS:
        return "anybody"
    if path == "/v2" or path.startswith("/v2/"):
        return await run_in_threadpool(verify, context, request, body)
    if path == "/admin" or path.startswith("/admin/"):
        _check_token(context, request)
        return "an operator"
    return "anybody"


def _check_token(context: Context, request: Request) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    known = hmac.compare_digest(token.encode(), context.admin_token.encode())
    if scheme.lower() != "bearer" or not known:
        raise Forbidden("The operators' API wants 'Authorization: Bearer' and the token in BASCULE_ADMIN_TOKEN.")


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            raise TooLarge(f"The body is over {BODY_MAX} bytes: send less at a time.")
    return bytes(body)


def _recorded(scope: Scope, send: Send, sender: str) -> Send:
    """Log every change: who asked for what, and what was answered. Bodies and headers hold secrets and stay out."""

    async def record(message: Message) -> None:
        if message["type"] == "http.response.start" and scope["method"] != "GET":
            log.info("change", by=sender, method=scope["method"], path=scope["path"], status=message["status"])
        await send(message)

    return record


def _replay(body: bytes, receive: Receive) -> Receive:
    handed_on = False

    async def replay() -> Message:
        nonlocal handed_on
        if handed_on:
            return await receive()
        handed_on = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
