"""A running API process and Exoscale's own client, unchanged."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jsonschema
import pytest
from exoscale.api.exceptions import ExoscaleAPIAuthException, ExoscaleAPIClientException
from exoscale.api.v2 import Client, api_spec

from bascule.client.clients import AdminClient, ApiClient
from bascule.model.errors import Forbidden, InUse, NotFound, Unavailable
from bascule.store import operations
from bascule.store.database import Database, open_database
from tests.conftest import BOTH, new_database
from tests.unit.api.installation import NO_AUTHORITIES
from tests.waiting import until

ADMIN_TOKEN = "an-admin-token-for-tests"
COMMANDS = Path(sys.executable).parent
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningApi:
    """A process that answers at `url`, the database it writes, and an API key it knows."""

    url: str
    database: Database
    key: str
    secret: str

    def exoscale(self) -> Any:
        """Exoscale's client."""
        return Client(self.key, self.secret, url=f"{self.url}/v2")

    def ours(self) -> ApiClient:
        """Our client."""
        return ApiClient(self.url, self.key, self.secret)

    def keep_promises(self, load_balancer_id: str) -> None:
        """What the orchestrator does when a load balancer is served."""
        with self.database.write() as connection:
            operations.succeed_up_to(connection, "load-balancer", UUID(load_balancer_id), 1_000)


@pytest.fixture(scope="module", params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One database of each kind for the module."""
    with new_database(request, tmp_path_factory.mktemp("api"), migrated=False) as url:
        yield url


@pytest.fixture(scope="module")
def api(database_url: str) -> Iterator[RunningApi]:
    """One API process for the module, with an address pool and a hypervisor."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = {
        "BASCULE_ADMIN_TOKEN": ADMIN_TOKEN,
        "BASCULE_DATABASE_URL": database_url,
        "BASCULE_API_LISTEN": f"127.0.0.1:{port}",
        "BASCULE_ZONE": "ch-gva-2",
    }
    process = subprocess.Popen([COMMANDS / "bascule-api"], env={**os.environ, **settings})
    try:
        _wait_until_it_answers(url, process)
        with AdminClient(url, ADMIN_TOKEN) as admin:
            admin.address_pools.create(name="public", network=IPv4Network("192.0.2.0/26"))
            admin.hypervisors.create(name="hv-1", agent_url="http://192.0.2.1:7702", agent_token="a-token-of-an-agent")
            api_key = admin.api_keys.create(name="tests")
        engine = open_database(database_url)
        yield RunningApi(url=url, database=Database(engine), key=api_key.key, secret=api_key.secret)
        engine.dispose()
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    with httpx.Client(trust_env=False, verify=NO_AUTHORITIES) as client:

        def answers() -> bool:
            assert process.poll() is None
            with suppress(httpx.TransportError):
                return client.get(f"{url}/v1/health").is_success
            return False

        until("the API to answer", answers)


@cache
def _components() -> Json:
    found: Json = copy.deepcopy(api_spec)["components"]
    found["schemas"]["load-balancer-service-healthcheck"]["properties"]["interval"]["minimum"] = 1
    return found


def check(answer: Json, schema: str) -> Json:
    """Assert that an answer has the shape of Exoscale's API, with our health check intervals allowed."""
    root = {"$ref": f"#/components/schemas/{schema}", "components": _components()}
    jsonschema.Draft4Validator(root, format_checker=jsonschema.FormatChecker()).validate(answer)
    return answer


def new_pool(api: RunningApi, *addresses: str) -> str:
    """A pool with members at these addresses."""
    with AdminClient(api.url, ADMIN_TOKEN) as admin:
        pool = admin.instance_pools.create(name="front")
        for address in addresses:
            name, place = f"web-{address}", IPv4Address(address)
            admin.instance_pools.register(pool.id, name=name, address=place, hypervisor="hv-1")
    return str(pool.id)


def service(pool: str) -> Json:
    """A service that nothing is wrong with, as Exoscale's client wants it."""
    return {
        "name": "http",
        "protocol": "tcp",
        "port": 80,
        "target_port": 8080,
        "strategy": "round-robin",
        "instance_pool": {"id": pool},
        "healthcheck": {"mode": "https", "port": 8443, "uri": "/", "tls-sni": "example.net", "interval": 2},
    }


def test_a_load_balancer_lives_and_dies_through_exoscales_client(api: RunningApi) -> None:
    """Create, show, list, change, serve, reset and delete; every answer has the shape of Exoscale's API."""
    client, pool = api.exoscale(), new_pool(api, "10.1.0.1", "10.1.0.2")
    operation = check(client.create_load_balancer(name="web", labels={"a": "b"}), "operation")
    load_balancer = operation["reference"]["id"]
    check(client.add_service_to_load_balancer(id=load_balancer, **service(pool)), "operation")
    shown = check(client.get_load_balancer(id=load_balancer), "load-balancer")
    assert shown in client.list_load_balancers()["load-balancers"]
    place = {"id": load_balancer, "service_id": shown["services"][0]["id"]}
    check(client.update_load_balancer_service(**place, port=8080), "operation")
    assert check(client.get_load_balancer_service(**place), "load-balancer-service")["port"] == 8080
    check(client.reset_load_balancer_service_field(**place, field="description"), "operation")
    check(client.update_load_balancer(id=load_balancer, description="shop"), "operation")
    check(client.reset_load_balancer_field(id=load_balancer, field="labels"), "operation")
    changed = check(client.get_load_balancer(id=load_balancer), "load-balancer")
    assert (changed["labels"], changed["description"]) == ({}, "shop")
    check(client.delete_load_balancer_service(**place), "operation")
    check(client.delete_load_balancer(id=load_balancer), "operation")
    assert client.get_load_balancer(id=load_balancer)["state"] == "deleting"


def test_waiting_ends_when_the_promise_is_kept(api: RunningApi) -> None:
    """Exoscale's client and ours both see the operation succeed."""
    client = api.exoscale()
    operation = client.create_load_balancer(name="web")
    with api.ours() as ours, pytest.raises(Unavailable, match="still pending"):
        ours.wait(UUID(operation["id"]), 0.1)
    promise = threading.Timer(0.3, api.keep_promises, [operation["reference"]["id"]])
    promise.start()
    with api.ours() as ours:
        assert ours.wait(UUID(operation["id"]), 30).state == "success"
    promise.join()
    assert check(client.wait(operation["id"]), "operation")["state"] == "success"


def test_pools_and_elastic_ips_through_exoscales_client(api: RunningApi) -> None:
    """The other nouns too: create, show, list, change, scale, evict, reset, delete."""
    client, unused = api.exoscale(), "11111111-1111-4111-8111-111111111111"
    needed = {"instance_type": {"id": unused}, "template": {"id": unused}, "disk_size": 10}
    empty = check(client.create_instance_pool(name="p", size=2, **needed), "operation")["reference"]["id"]
    check(client.get_instance_pool(id=empty), "instance-pool")
    check(client.update_instance_pool(id=empty, description="d"), "operation")
    check(client.reset_instance_pool_field(id=empty, field="description"), "operation")
    check(client.delete_instance_pool(id=empty), "operation")
    pool = new_pool(api, "10.2.0.1", "10.2.0.2")
    check(client.scale_instance_pool(id=pool, size=2), "operation")
    members = check(client.get_instance_pool(id=pool), "instance-pool")["instances"]
    check(client.evict_instance_pool_members(id=pool, instances=[members[0]["id"]]), "operation")
    for one in client.list_instance_pools()["instance-pools"]:
        check(one, "instance-pool")
    held = check(client.create_elastic_ip(description="d"), "operation")["reference"]["id"]
    check(client.get_elastic_ip(id=held), "elastic-ip")
    check(client.update_elastic_ip(id=held, labels={"a": "b"}), "operation")
    check(client.reset_elastic_ip_field(id=held, field="description"), "operation")
    with pytest.raises(ExoscaleAPIClientException, match="not supported yet"):
        client.attach_instance_to_elastic_ip(id=held, instance={"id": unused})
    assert held in [one["id"] for one in client.list_elastic_ips()["elastic-ips"]]
    check(client.delete_elastic_ip(id=held), "operation")


def test_the_zone_is_listed_without_a_signature(api: RunningApi) -> None:
    """Exoscale's client asks for zones unsigned, and is told where to go on."""
    zone = check(api.exoscale().list_zones()["zones"][0], "zone")
    assert zone == {"name": "ch-gva-2", "api-endpoint": f"{api.url}/v2"}


def test_a_wrong_secret_is_an_authentication_error(api: RunningApi) -> None:
    """Exoscale's client raises its own kind of error for it, and ours raises ours."""
    with pytest.raises(ExoscaleAPIAuthException):
        Client(api.key, "wrong", url=f"{api.url}/v2").list_load_balancers()
    with pytest.raises(ExoscaleAPIAuthException):
        Client("EXOunknown", api.secret, url=f"{api.url}/v2").list_load_balancers()
    with ApiClient(api.url, api.key, "wrong") as ours, pytest.raises(Forbidden):
        ours.load_balancers.list_all()


def test_our_client_raises_the_error_that_the_api_raised(api: RunningApi) -> None:
    """Kind and field cross the wire."""
    pool = UUID(new_pool(api))
    with api.ours() as ours:
        load_balancer = ours.load_balancers.create(name="x").reference.id
        ours.services.add(
            load_balancer, name="s", protocol="udp", port=53, target_port=53, instance_pool=pool,
            healthcheck={"mode": "tcp", "port": 53},
        )  # fmt: skip
        with pytest.raises(InUse):
            ours.instance_pools.delete(pool)
        with pytest.raises(NotFound):
            ours.load_balancers.get(pool)
    with ApiClient("http://127.0.0.1:1", "k", "s") as nobody, pytest.raises(Unavailable, match="BASCULE_API_URL"):
        nobody.load_balancers.list_all()


def test_the_command_line_manages_and_explains(api: RunningApi) -> None:
    """A load balancer is made and listed as JSON; errors are one sentence and the exit code of their kind."""
    environment = {
        **os.environ,
        "BASCULE_API_URL": api.url,
        "BASCULE_API_KEY": api.key,
        "BASCULE_API_SECRET": api.secret,
        "BASCULE_ADMIN_TOKEN": ADMIN_TOKEN,
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(COMMANDS / "bascule"), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    made = run("lb", "create", "from-cli", "--wait", "0", "--output", "json")
    assert made.returncode == 0, made.stderr
    assert '"name": "from-cli"' in run("lb", "list", "-o", "json").stdout
    assert "from-cli" in run("lb", "show", "from-cli").stdout
    assert "public" in run("address-pool", "list").stdout
    missing = run("lb", "delete", "nothing")
    assert (missing.returncode, missing.stderr.count("\n"), "Traceback" in missing.stderr) == (4, 1, False)
    assert run("lb", "create", "x", "--ip", "203.0.113.1").returncode == 2
    late = run("lb", "create", "late", "--wait", "0.1")
    assert (late.returncode, "still pending" in late.stderr) == (6, True)
