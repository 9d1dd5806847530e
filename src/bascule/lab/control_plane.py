"""What the lab asks of its control plane, through the same public API that customers use."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import httpx

from bascule.lab.state import Lab
from bascule.lab.waiting import wait_until
from bascule.model.errors import SystemFailure, Unavailable
from bascule.model.strategies import Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A service to ask for."""

    name: str
    protocol: Protocol
    port: int
    target_port: int


class _Signature(httpx.Auth):
    requires_request_body = True

    def __init__(self, key: str, secret: str) -> None:
        self._key, self._secret = key, secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        expires = str(int(time.time()) + 600)
        words = f"{request.method} {request.url.path}", request.content.decode(), "", "", expires
        digest = hmac.new(self._secret.encode(), "\n".join(words).encode(), hashlib.sha256).digest()
        signature = base64.b64encode(digest).decode()
        request.headers["Authorization"] = (
            f"EXO2-HMAC-SHA256 credential={self._key},expires={expires},signature={signature}"
        )
        yield request


class ControlPlane:
    """The public API of one lab."""

    def __init__(self, lab: Lab) -> None:
        auth = _Signature(lab.api_key, lab.api_secret)
        self._http = httpx.Client(base_url=f"{lab.api_url}/v2", auth=auth, trust_env=False, timeout=15)

    def load_balancers(self) -> list[Json]:
        """Every load balancer, with the health its services report."""
        listed: list[Json] = self._ask("GET", "/load-balancer")["load-balancers"]
        return [self.load_balancer(each["id"]) for each in listed]

    def load_balancer(self, identifier: str) -> Json:
        """One load balancer."""
        return self._ask("GET", f"/load-balancer/{identifier}")

    def create_load_balancer(self, name: str, description: str = "") -> Json:
        """Create a load balancer; returns it once it runs."""
        body = {"name": name, "description": description}
        return self.load_balancer(self._finish(self._ask("POST", "/load-balancer", body))["reference"]["id"])

    def add_service(self, balancer: str, port: Port, pool: str, *, health_uri: str = "/healthz") -> None:
        """Add a service over an instance pool; returns once every LB node carries it."""
        check = {"mode": "http", "port": port.target_port, "uri": health_uri, "interval": 1, "timeout": 1, "retries": 1}
        body = {
            "name": port.name,
            "protocol": port.protocol.value,
            "port": port.port,
            "target-port": port.target_port,
            "strategy": "maglev-hash",
            "instance-pool": {"id": pool},
            "healthcheck": check,
        }
        self._finish(self._ask("POST", f"/load-balancer/{balancer}/service", body))

    def delete_load_balancer(self, identifier: str) -> None:
        """Delete a load balancer; returns once it is gone."""
        self._finish(self._ask("DELETE", f"/load-balancer/{identifier}"))

    def scale(self, pool: str, size: int) -> None:
        """Let `size` instances of a pool serve."""
        self._finish(self.request_scale(pool, size))

    def request_scale(self, pool: str, size: int) -> Json:
        """Ask for another size and do not wait; returns the operation."""
        return self._ask("PUT", f"/instance-pool/{pool}:scale", {"size": size})

    def pool(self, identifier: str) -> Json:
        """One instance pool."""
        return self._ask("GET", f"/instance-pool/{identifier}")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"The lab's API does not answer: {error}. See `bascule lab status`.") from error
        if answer.is_error:
            raise SystemFailure(f"The lab's API refused {method} {path}: {answer.text}")
        found: Json = answer.json()
        return found

    def _finish(self, operation: Json) -> Json:
        def ended() -> Json | None:
            found = self._ask("GET", f"/operation/{operation['id']}")
            return found if found["state"] != "pending" else None

        found = wait_until(ended, what=f"The end of operation {operation['id']}", timeout=30, every=0.1)
        assert found is not None
        if found["state"] != "success":
            raise SystemFailure(f"Operation {found['id']} ended in {found['state']}: {found.get('message', '')}")
        return found


def statuses(balancer: Json) -> dict[str, dict[str, str]]:
    """The health of each service's instances, by service name and instance address."""
    return {
        service["name"]: {
            each["public-ip"]: each["status"] for each in service.get("healthcheck-status", ()) if "public-ip" in each
        }
        for service in balancer.get("services", ())
    }
