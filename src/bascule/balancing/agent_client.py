"""The agents over HTTP (`bascule.wire.agent_v1`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast
from uuid import UUID

import httpx
from pydantic import TypeAdapter, ValidationError

from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, Version
from bascule.model.errors import BasculeError, InvalidInput, StaleCommand, SystemFailure, Unavailable
from bascule.model.nodes import Agent, Hypervisor, LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport
from bascule.wire import agent_v1

CONNECT_TIMEOUT_SECONDS = 1.0
REPORT_TIMEOUT_SECONDS = 2.0
# An LB agent waits for the first verdicts of new instances before it answers.
COMMAND_TIMEOUT_SECONDS = 10.0

# Counters change with every packet, and with them the whole report: that is read every few seconds only, and for at
# most one part in so many of the time.
COUNTERS_EVERY_SECONDS = 3.0
COUNTERS_SHARE = 40

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """An agent's last report; `counters_due_at` is when to read all of it anew, on the monotonic clock."""

    tag: str = ""
    report: object = None
    digest: bytes = b""
    counters_due_at: float = 0.0


_NOTHING = _Known()


class HttpAgents:
    """Implements `bascule.balancing.hands.Agents`."""

    def __init__(self) -> None:
        self._known: dict[Agent, _Known] = {}
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(COMMAND_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS))

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def lb_node_report(self, node: LBNode) -> LBNodeReport:
        """GET /v1/report. The same object as before while nothing changed; counters are up to a few seconds old."""
        return await self._report(node.name, node.agent, agent_v1.LB_NODE_REPORT)

    async def put_balancer(self, node: LBNode, configuration: BalancerConfiguration) -> BalancerReport:
        """PUT /v1/load-balancers/{id}."""
        path = f"/v1/load-balancers/{configuration.load_balancer_id}"
        content = agent_v1.BALANCER_CONFIGURATION.dump_json(configuration)
        response = await self._send(node.name, node.agent, "PUT", path, content=content)
        return _read(node.name, agent_v1.BALANCER_REPORT, response.content)

    async def delete_balancer(self, node: LBNode, load_balancer_id: UUID, version: Version) -> None:
        """DELETE /v1/load-balancers/{id}."""
        await self._delete(node.name, node.agent, load_balancer_id, version)

    async def hypervisor_report(self, hypervisor: Hypervisor) -> HypervisorReport:
        """GET /v1/report. The same object as before while nothing changed; counters are up to a few seconds old."""
        return await self._report(hypervisor.name, hypervisor.agent, agent_v1.HYPERVISOR_REPORT)

    async def put_forwarding(self, hypervisor: Hypervisor, configuration: ForwardingConfiguration) -> None:
        """PUT /v1/load-balancers/{id}."""
        path = f"/v1/load-balancers/{configuration.load_balancer_id}"
        content = agent_v1.FORWARDING_CONFIGURATION.dump_json(configuration)
        await self._send(hypervisor.name, hypervisor.agent, "PUT", path, content=content)

    async def delete_forwarding(self, hypervisor: Hypervisor, load_balancer_id: UUID, version: Version) -> None:
        """DELETE /v1/load-balancers/{id}."""
        await self._delete(hypervisor.name, hypervisor.agent, load_balancer_id, version)

    async def _report(self, name: str, agent: Agent, adapter: TypeAdapter[T]) -> T:
        known, begun = self._known.get(agent, _NOTHING), time.monotonic()
        headers = {"If-None-Match": known.tag} if known.tag and begun < known.counters_due_at else {}
        response = await self._send(name, agent, "GET", "/v1/report", headers=headers, timeout=REPORT_TIMEOUT_SECONDS)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return cast("T", known.report)
        digest, reading = hashlib.blake2b(response.content).digest(), time.monotonic()
        report = known.report if digest == known.digest else _read(name, adapter, response.content)
        pause = max(COUNTERS_EVERY_SECONDS, COUNTERS_SHARE * (time.monotonic() - reading))
        tag = response.headers.get("etag", "")
        self._known[agent] = _Known(tag=tag, report=report, digest=digest, counters_due_at=begun + pause)
        return cast("T", report)

    async def _delete(self, name: str, agent: Agent, load_balancer_id: UUID, version: Version) -> None:
        query = f"epoch={version.epoch}&generation={version.generation}&step={version.step}"
        await self._send(name, agent, "DELETE", f"/v1/load-balancers/{load_balancer_id}?{query}")

    async def _send(
        self,
        name: str,
        agent: Agent,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = COMMAND_TIMEOUT_SECONDS,  # noqa: ASYNC109  it is passed on to the HTTP library
    ) -> httpx.Response:
        headers = {**(headers or {}), "Authorization": f"Bearer {agent.token}", "Content-Type": "application/json"}
        limits = httpx.Timeout(timeout, connect=CONNECT_TIMEOUT_SECONDS)
        try:
            url = agent.url.rstrip("/") + path
            response = await self._http.request(method, url, content=content, headers=headers, timeout=limits)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise Unavailable(f"{name} does not answer at {agent.url} ({words}): is its agent running?") from error
        if response.is_error:
            raise _refusal(name, response)
        return response


def _read(name: str, adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unavailable(
            f"{name} answered something unknown ({first['loc']}: {first['msg']}): upgrade its agent."
        ) from error


def _refusal(name: str, response: httpx.Response) -> BasculeError:
    """An agent's refusal, as our own error."""
    try:
        body = response.json()
        detail, code = str(body.get("detail", "")), str(body.get("code", ""))
    except (ValueError, AttributeError):
        detail, code = response.text[:200], ""
    sentence = f"{name} refused with {response.status_code}: {detail}"
    if code == StaleCommand.code:
        return StaleCommand(sentence)
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return SystemFailure(sentence)
    return InvalidInput(sentence)
