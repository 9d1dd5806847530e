"""What every route needs: the database, the clock, and what this installation calls itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from bascule.clock import Clock
from bascule.model.draining import DRAIN_DEADLINE
from bascule.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`public_url` may be empty: answers then repeat the address that the client used.

    `drain_deadline` is how long, in seconds, who drains keeps its connections when nobody says it.
    """

    database: Database
    clock: Clock
    admin_token: str = field(repr=False)
    zone: str
    public_url: str
    new_hash_seed: Callable[[], int]
    drain_deadline: float = DRAIN_DEADLINE


# Where a request's scope holds the context of a rehearsal (`bascule.api.admin.plans`).
REHEARSED = "bascule.rehearsed"


def _context_of(request: Request) -> Context:
    context: Context = request.scope.get(REHEARSED, request.app.state.context)
    return context


Ctx = Annotated[Context, Depends(_context_of)]


class PublicRouter(APIRouter):
    """Routes of the public API: what has no value is left out of the answer, null is never written."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        """Add a route."""
        super().add_api_route(path, endpoint, **{**kwargs, "response_model_exclude_none": True})
