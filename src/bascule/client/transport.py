"""Requests and answers as JSON; a refusal comes back as the error of our tree that the API raised."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from uuid import UUID

import httpx

from bascule.model.errors import BasculeError, Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unavailable
from bascule.wire.admin_v1_plan import PlanView

TIMEOUT = 30.0  # seconds
_BY_STATUS: dict[int, type[BasculeError]] = {
    kind.status: kind for kind in (InvalidInput, Forbidden, NotFound, Conflict, TooLarge, Unavailable)
}


class Planned(Exception):
    """In place of an answer: what the change would do."""

    def __init__(self, plan: PlanView) -> None:
        super().__init__("planned, not done")
        self.plan = plan


class Transport:
    """One API over one connection pool. Every call raises an error of our tree, Unavailable when nobody answers."""

    def __init__(
        self, url: str, auth: httpx.Auth, *, timeout: float = TIMEOUT, planner: Transport | None = None
    ) -> None:
        """With a `planner` nothing is changed: every change is planned by it, and raised as `Planned`."""
        self._planner = planner
        # Proxies of the environment are for the web; the control plane is reached directly.
        self._client = httpx.Client(base_url=url.rstrip("/"), auth=auth, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()
        if self._planner is not None:
            self._planner.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """Read."""
        return self._send("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: dict[str, object]) -> Any:
        """Create."""
        return self._send("POST", path, json=body)

    def put(self, path: str, body: dict[str, object]) -> Any:
        """Change."""
        return self._send("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        """Delete; None when the API has nothing to say."""
        return self._send("DELETE", path)

    def plan(self, method: str, path: str, body: dict[str, object]) -> PlanView:
        """What a change would do; for operators."""
        return PlanView.model_validate(self.post("/admin/v1/plan", {"method": method, "path": path, "body": body}))

    def _send(self, method: str, path: str, **request: Any) -> Any:
        if self._planner is not None and method != "GET":
            raise Planned(self._planner.plan(method, path, request.get("json") or {}))
        try:
            response = self._client.request(method, path, **request)
        except httpx.InvalidURL as error:
            raise InvalidInput(f"{self._client.base_url} is no URL ({error}): set BASCULE_API_URL.") from error
        except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
            raise Unavailable(
                f"The API at {self._client.base_url} does not answer ({error}): check BASCULE_API_URL and that it runs."
            ) from error
        if response.is_error:
            raise _error_of(response)
        return response.json() if response.content else None


def body_of(**fields: object) -> dict[str, object]:
    """A JSON body: names in kebab-case, addresses and identifiers as strings, None left out."""
    return {name.replace("_", "-"): _plain(value) for name, value in fields.items() if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, (UUID, IPv4Address, IPv4Network, IPv6Address, IPv6Network)):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _error_of(response: httpx.Response) -> BasculeError:
    try:
        problem: dict[str, Any] = response.json()
        sentence, code, errors = str(problem["detail"]), problem.get("code"), problem.get("errors") or []
    except (ValueError, KeyError, TypeError, AttributeError):
        sentence, code, errors = f"The API answered {response.status_code} without saying why: look at its log.", "", []
    kind = next((kind for kind in _tree(BasculeError) if kind.code == code), None)
    field = errors[0]["field"] if errors else None
    return (kind or _BY_STATUS.get(response.status_code, BasculeError))(sentence, field=field)


def _tree(root: type[BasculeError]) -> Iterator[type[BasculeError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)
