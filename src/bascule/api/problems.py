"""Every error as problem details (RFC 9457): ours, FastAPI's, and those nobody foresaw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from bascule.model.errors import BasculeError, InvalidInput, Unavailable
from bascule.wire.problems import MEDIA_TYPE, FieldProblem, Problem, problem_of

RETRY_AFTER_SECONDS = 5
FIELDS_NAMED = 20  # a body of a thousand unknown fields does not earn a thousand sentences
_WORDS = {
    "missing": "this field is required: add it",
    "extra_forbidden": "there is no such field: remove it",
}


def install(app: FastAPI) -> None:
    """Answer every error of the application with problem details."""
    app.add_exception_handler(BasculeError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(Exception, _unforeseen)


def response_of(error: BasculeError) -> JSONResponse:
    """One of our errors as an HTTP response."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return _response(problem_of(error), headers)


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(mode="json"), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BasculeError)
    return response_of(error)


async def _database(_request: Request, _error: Exception) -> JSONResponse:
    return response_of(Unavailable("The database does not answer: the request was not carried out, try again."))


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    sentence = "The API failed in a way nobody foresaw: look at its log, and report it."
    return _response(_plain(HTTPStatus.INTERNAL_SERVER_ERROR, sentence))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentences = {
        HTTPStatus.NOT_FOUND: "There is nothing at this path: /docs lists every path.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take this method: /docs lists what it takes.",
        HTTPStatus.BAD_REQUEST: "The body could not be read: send JSON.",
    }
    status = HTTPStatus(error.status_code)
    return _response(_plain(status, sentences.get(status, f"{error.detail}.")), error.headers)


def _plain(status: HTTPStatus, sentence: str) -> Problem:
    code = status.phrase.lower().replace(" ", "-")
    return Problem(title=status.phrase, status=status, detail=sentence, code=code, message=sentence)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [_field_problem(one) for one in error.errors()[:FIELDS_NAMED]]
    named = "; ".join(f"{one.field}: {one.message}" if one.field else one.message for one in fields)
    sentence = f"{named[:1].upper()}{named[1:]}." if not fields[0].field else f"{named}."
    problem = problem_of(InvalidInput(sentence))
    return _response(problem.model_copy(update={"errors": [one for one in fields if one.field]}))


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    if error["type"] == "json_invalid":
        return FieldProblem(field="", message=f"the body is no JSON ({error['ctx']['error']}): correct it")
    path = _path(error["loc"])
    if not path:
        return FieldProblem(field="", message="send a JSON object as the body, with Content-Type application/json")
    return FieldProblem(field=path, message=_WORDS.get(error["type"]) or _sentence(error["msg"]))


def _path(location: Sequence[str | int]) -> str:
    # The first part says body, path or query; "[key]" is pydantic's way to say that a key is wrong, not its value.
    path = ".".join(str(part) for part in location[1:] if part != "[key]")
    # Path parameters are the one place where a name cannot be in kebab-case.
    return path.replace("_", "-") if location[0] == "path" else path


def _sentence(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return text[:1].lower() + text[1:]
