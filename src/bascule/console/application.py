"""The application: every page behind the guard, and every error as a page."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from bascule.client.clients import AdminClient
from bascule.console import jobs
from bascule.console.guard import Guard
from bascule.console.live import Parts
from bascule.console.markup import fill
from bascule.model.errors import BasculeError

_STATIC = Path(__file__).parent / "static"
_NOTHING_HERE = "There is no such page: the list of jobs leads to all there are."
_UNFORESEEN = "The console failed in a way nobody foresaw: reload the page, and report it."


def create_app(client: AdminClient, *, names: Collection[str] = ()) -> FastAPI:
    """The console over one client. It answers to localhost, to any address, and to `names`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.client = client
    app.state.form_token = secrets.token_urlsafe()
    app.state.leaving = lambda: False
    app.include_router(jobs.router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    app.add_middleware(Guard, names=names)
    app.add_exception_handler(BasculeError, _ours)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    return app


async def _ours(_request: Request, error: Exception) -> HTMLResponse:
    assert isinstance(error, BasculeError)
    return _problem(error.sentence, error.status)


async def _malformed(_request: Request, _error: Exception) -> HTMLResponse:
    return _problem(_NOTHING_HERE, HTTPStatus.NOT_FOUND)


async def _http(_request: Request, error: Exception) -> HTMLResponse:
    assert isinstance(error, HTTPException)
    found = error.status_code != HTTPStatus.NOT_FOUND
    return _problem(f"{error.detail}." if found else _NOTHING_HERE, error.status_code)


async def _unforeseen(_request: Request, _error: Exception) -> HTMLResponse:
    return _problem(_UNFORESEEN, HTTPStatus.INTERNAL_SERVER_ERROR)


def _problem(sentence: str, code: int) -> HTMLResponse:
    parts = Parts(notice=sentence, ended=True, code=code)
    title = HTTPStatus(code).phrase
    return HTMLResponse(
        fill("problem.html", parts=parts, stream=None, now=round(time.time(), 3), title=title), status_code=code
    )
