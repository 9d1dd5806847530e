"""A small installation behind the API, served on a port of its own: what the tests of the API start from."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import func, select

from bascule.api.application import create_app
from bascule.api.context import Context
from bascule.client.signing import SignedWithKey, SignedWithToken
from bascule.clock import SystemClock
from bascule.store.database import Database, open_database
from bascule.store.tables import metadata

ADMIN_TOKEN = "an-admin-token-for-tests"
# For plain HTTP: to read the machine's certificates takes a client longer than several requests.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
Json = dict[str, Any]
_ADDRESSES = (f"10.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """`users` signs with an API key, `operators` carries the admin token, `strangers` shows nothing."""

    database: Database
    users: httpx.Client
    operators: httpx.Client
    strangers: httpx.Client
    key: str
    secret: str

    def rows(self) -> dict[str, int]:
        """How many rows every table has: what a refused request must not change."""
        with self.database.read() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in metadata.tables.items()
            }

    def pool(self, *, members: int = 1, size: int | None = None) -> str:
        """A new instance pool; its members' addresses are nobody else's."""
        body = {"name": "front"} if size is None else {"name": "front", "size": size}
        pool_id: str = created(self.operators.post("/admin/v1/instance-pools", json=body))["id"]
        for number in range(members):
            member = {"name": f"web-{number}", "address": next(_ADDRESSES), "hypervisor": "hv-1"}
            created(self.operators.post(f"/admin/v1/instance-pools/{pool_id}/instances", json=member))
        return pool_id

    def load_balancer(self, **body: object) -> str:
        """A new load balancer's identifier."""
        return reference(self.users.post("/v2/load-balancer", json={"name": "web", **body}))

    def service(self, load_balancer_id: str, pool_id: str, **body: object) -> str:
        """A new service's identifier."""
        path = f"/v2/load-balancer/{load_balancer_id}"
        reference(self.users.post(f"{path}/service", json={**service_body(pool_id), **body}))
        service_id: str = self.users.get(path).json()["services"][-1]["id"]
        return service_id


def service_body(pool_id: str) -> Json:
    """A service that nothing is wrong with."""
    return {
        "name": "http",
        "protocol": "tcp",
        "port": 80,
        "target-port": 8080,
        "strategy": "maglev-hash",
        "instance-pool": {"id": pool_id},
        "healthcheck": {"mode": "http", "port": 8080, "uri": "/health"},
    }


def created(response: httpx.Response) -> Json:
    """What the operators' API made."""
    assert response.status_code == 201, response.text
    body: Json = response.json()
    return body


def reference(response: httpx.Response) -> str:
    """The identifier that an operation of the public API is about."""
    assert response.status_code == 200, response.text
    identifier: str = response.json()["reference"]["id"]
    return identifier


@contextmanager
def installation(database_url: str, *, network: str = "192.0.2.0/29", port: int = 0) -> Iterator[Installation]:
    """An installation with an address pool, an LB node, a hypervisor and an API key; with a port, on that."""
    engine = open_database(database_url)
    database = Database(engine)
    with _in_place(_context(database), port) as url, ExitStack() as stack:
        # One client for each kind of caller: they differ in what they sign with.
        users, operators, strangers = (
            stack.enter_context(httpx.Client(base_url=url, trust_env=False, verify=NO_AUTHORITIES, timeout=60))
            for _ in range(3)
        )
        operators.auth = SignedWithToken(ADMIN_TOKEN)
        key, secret = _furnish(operators, network)
        users.auth = SignedWithKey(key, secret)
        yield Installation(
            database=database,
            users=users,
            operators=operators,
            strangers=strangers,
            key=key,
            secret=secret,
        )
    engine.dispose()


def _context(database: Database) -> Context:
    return Context(
        database=database,
        clock=SystemClock(),
        admin_token=ADMIN_TOKEN,
        zone="test-1",
        public_url="",
        new_hash_seed=itertools.count(1).__next__,
    )


@contextmanager
def _in_place(context: Context, port: int) -> Iterator[str]:
    """The URL of an application over this context; where the port does not matter, of the one of this process."""
    if port:
        with served(create_app(context), port) as url:
            yield url
        return
    app, url = _the_one()
    before, app.state.context = app.state.context, context
    yield url
    app.state.context = before


@cache
def _the_one() -> tuple[FastAPI, str]:
    """An application and its URL until this process ends: to build, start and stop one takes longer than most tests."""
    app = create_app(_context(Database(open_database("sqlite://"))))
    return app, _Served(app).url


def _furnish(operators: httpx.Client, network: str) -> tuple[str, str]:
    agent = {"agent-url": "http://192.0.2.1:7701", "agent-token": "a-token-of-an-agent"}
    created(operators.post("/admin/v1/address-pools", json={"name": "public", "network": network}))
    created(operators.post("/admin/v1/lb-nodes", json={"name": "lb-1", **agent}))
    created(operators.post("/admin/v1/hypervisors", json={"name": "hv-1", **agent}))
    api_key = created(operators.post("/admin/v1/api-keys", json={"name": "tests"}))
    return api_key["key"], api_key["secret"]


@contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The application's URL while it answers."""
    server = _Served(app, port)
    yield server.url
    server.end()


class _Served:
    """An application that answers at `url`, in a thread that ends with the process at the latest."""

    def __init__(self, app: FastAPI, port: int = 0) -> None:
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        # asyncio sends at once (TCP_NODELAY) only where the protocol is named; else each answer waits 40 ms for an ACK.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)

    def end(self) -> None:
        """Stop answering."""
        self._server.should_exit = True
        self._thread.join()
