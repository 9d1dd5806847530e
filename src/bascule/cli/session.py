"""What every command needs: where the API is, and who asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from uuid import UUID

import typer
from rich.console import Console

from bascule.client.clients import AdminClient, ApiClient
from bascule.client.transport import TIMEOUT
from bascule.model.errors import Conflict, InvalidInput, NotFound
from bascule.wire.public_v2_views import OperationView


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The connection options, as the command line or the environment gave them.

    `planning`: every change raises `bascule.client.transport.Planned` instead of being made.
    """

    url: str
    key: str | None
    secret: str | None = field(repr=False)
    admin_token: str | None = field(repr=False)
    planning: bool = False


def api(context: typer.Context) -> ApiClient:
    """The users' client. Raises InvalidInput when the key or the secret is missing."""
    session: Session = context.find_root().obj
    if not session.key or not session.secret:
        raise InvalidInput(
            "This command signs with an API key: set BASCULE_API_KEY and BASCULE_API_SECRET"
            " (an operator creates them with 'bascule api-key create NAME').",
            field="BASCULE_API_KEY",
        )
    return ApiClient(session.url, session.key, session.secret, planner=_planner(session))


def admin(context: typer.Context, *, timeout: float = TIMEOUT) -> AdminClient:
    """The operators' client; `timeout` is in seconds. Raises InvalidInput when the token is missing."""
    session: Session = context.find_root().obj
    if not session.admin_token:
        raise InvalidInput("This command is for operators: set BASCULE_ADMIN_TOKEN.", field="BASCULE_ADMIN_TOKEN")
    return AdminClient(session.url, session.admin_token, timeout=timeout, planner=_planner(session))


def _planner(session: Session) -> str | None:
    if not session.planning:
        return None
    if not session.admin_token:
        raise InvalidInput("Plans are for operators: set BASCULE_ADMIN_TOKEN.", field="BASCULE_ADMIN_TOKEN")
    return session.admin_token


def is_operator(context: typer.Context) -> bool:
    """Whether the operators' token is there."""
    session: Session = context.find_root().obj
    return bool(session.admin_token)


def settle(client: ApiClient, operation: OperationView, wait: float) -> OperationView:
    """Wait for an operation, `wait` seconds at most; 0 does not wait. Raises as `Operations.wait` does."""
    if wait <= 0:
        return operation
    with Console(stderr=True).status("Waiting for the change to come true…"):
        return client.wait(operation.id, wait)


class Named(Protocol):
    """A noun that has both a name and an identifier."""

    @property
    def id(self) -> UUID:
        """Identifier."""

    @property
    def name(self) -> str:
        """Name."""


N = TypeVar("N", bound=Named)


def pick(items: Iterable[N], wanted: str, noun: str) -> N:
    """The item of this name or identifier. Raises NotFound, and Conflict when several have the name."""
    found = [item for item in items if wanted in {item.name, str(item.id)}]
    if not found:
        raise NotFound(f"There is no {noun} {wanted!r}: list them to find the one you mean.")
    if len(found) > 1:
        ids = ", ".join(str(item.id) for item in found)
        raise Conflict(f"Several {noun}s are named {wanted!r}: give the identifier of the one you mean ({ids}).")
    return found[0]
