"""Health checks beyond Exoscale's: what is given is given back, kept in updates, and told to nobody who did not ask."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.store import services, tables
from tests.unit.api.installation import Installation

COMMON = {"interval": 10, "timeout": 2, "retries": 1}
EXTENDED: list[dict[str, Any]] = [
    {"mode": "http", "uri": "/", "status-codes": "200,204-206", "body-pattern": 'say "$hi" {ok}', "host": "a.example"},
    {"mode": "https", "uri": "/", "tls-sni": "a.example", "tls-verify": True, "body-digest": "0" * 64},
    {"mode": "smtp", "smtp-helo": "checks.example"},
    {"mode": "dns", "dns-name": "_sip._udp.example", "dns-type": "SRV", "dns-answer": True},
    {"mode": "udp", "udp-payload": "00ff", "udp-reply": ""},
    {"mode": "ping", "retry-interval": 2, "rise": 3, "warm-up": 30, "on-failure": "inhibit"},
    {"mode": "script", "script": "check-disk.sh", "script-weight": True, "quorum": 20, "hysteresis": 5},
]


def shown(api: Installation, load_balancer: str) -> dict[str, Any]:
    """The health check of the only service."""
    check: dict[str, Any] = api.users.get(f"/v2/load-balancer/{load_balancer}").json()["services"][0]["healthcheck"]
    return check


@pytest.mark.parametrize("check", EXTENDED, ids=lambda check: check["mode"])
def test_what_is_given_is_given_back(api_at_rest: Installation, check: dict[str, Any]) -> None:
    """Every option reads back as written, and nothing else shows."""
    load_balancer = api_at_rest.load_balancer()
    api_at_rest.service(load_balancer, api_at_rest.pool(), healthcheck={**check, "port": 80})
    assert shown(api_at_rest, load_balancer) == {**COMMON, **check, "port": 80}


def test_an_ordinary_check_shows_exoscales_fields_alone(api_at_rest: Installation) -> None:
    """Options at their defaults are left out, even when they were given."""
    load_balancer = api_at_rest.load_balancer()
    check = {"mode": "http", "port": 80, "uri": "/"}
    api_at_rest.service(load_balancer, api_at_rest.pool(), healthcheck={**check, "rise": 1, "on-failure": "remove"})
    assert shown(api_at_rest, load_balancer) == {**COMMON, **check}


def test_an_update_keeps_what_the_mode_still_uses(api_at_rest: Installation) -> None:
    """Changing the mode alone is enough; resetting puts all options back, unless the mode needs one."""
    load_balancer = api_at_rest.load_balancer()
    check = {"mode": "http", "port": 80, "uri": "/", "body-pattern": "OK", "rise": 2}
    service = api_at_rest.service(load_balancer, api_at_rest.pool(), healthcheck=check)
    path = f"/v2/load-balancer/{load_balancer}/service/{service}"
    assert api_at_rest.users.put(path, json={"healthcheck": {"retries": 3}}).status_code == 200
    assert shown(api_at_rest, load_balancer) == {**COMMON, **check, "retries": 3}
    assert api_at_rest.users.put(path, json={"healthcheck": {"mode": "tcp"}}).status_code == 200
    assert shown(api_at_rest, load_balancer) == {**COMMON, "mode": "tcp", "port": 80, "rise": 2, "retries": 3}
    assert api_at_rest.users.delete(f"{path}/healthcheck").status_code == 200
    assert shown(api_at_rest, load_balancer) == {**COMMON, "mode": "tcp", "port": 80, "retries": 3}
    assert api_at_rest.users.put(path, json={"healthcheck": {"mode": "script", "script": "x"}}).status_code == 200
    refusal = api_at_rest.users.delete(f"{path}/healthcheck").json()
    assert refusal["errors"][0]["field"] == "healthcheck.script"


def test_a_sorry_server_is_an_instance(api_at_rest: Installation) -> None:
    """The address of a registered instance is taken, of whatever pool."""
    load_balancer, pool = api_at_rest.load_balancer(), api_at_rest.pool(members=1)
    members = api_at_rest.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"]
    address = members[0]["address"]
    check = {"mode": "tcp", "port": 80, "sorry-server": address}
    service = api_at_rest.service(load_balancer, pool, healthcheck=check)
    assert shown(api_at_rest, load_balancer)["sorry-server"] == address
    path = f"/v2/load-balancer/{load_balancer}/service/{service}"
    wrong = api_at_rest.users.put(path, json={"healthcheck": {"sorry-server": "10.9.9.9"}})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "healthcheck.sorry-server")
    assert shown(api_at_rest, load_balancer)["sorry-server"] == address


def test_a_row_of_an_older_version_loads(api_at_rest: Installation) -> None:
    """A check that was stored before there were options has their defaults."""
    load_balancer = api_at_rest.load_balancer()
    service = api_at_rest.service(load_balancer, api_at_rest.pool())
    old = {"mode": "https", "port": 443, "interval": 5, "timeout": 3, "retries": 2, "uri": "/", "tls_sni": None}
    with api_at_rest.database.write() as connection:
        connection.execute(sa.update(tables.services).values(health_check=old))
        found = services.get(connection, UUID(load_balancer), UUID(service)).health_check
    assert found == HealthCheck(mode=HealthCheckMode.HTTPS, port=443, interval=5, timeout=3, retries=2, uri="/")
