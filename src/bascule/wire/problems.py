"""Errors as they cross a border: RFC 9457 problem details, with the field named where there is one."""

from __future__ import annotations

from pydantic import BaseModel

from bascule.model.errors import BasculeError

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One wrong field; `field` is its path in the body, dots between levels."""

    field: str
    message: str


class Problem(BaseModel):
    """`message` repeats `detail` for clients of the public API that look there."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    message: str
    errors: list[FieldProblem] = []


def problem_of(error: BasculeError) -> Problem:
    """The problem details of one of our errors."""
    fields = [FieldProblem(field=error.field, message=error.sentence)] if error.field else []
    return Problem(
        title=error.code.replace("-", " ").capitalize(),
        status=error.status,
        detail=error.sentence,
        code=error.code,
        message=error.sentence,
        errors=fields,
    )
