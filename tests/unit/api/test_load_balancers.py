"""Load balancers and services through the public API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import select, update

from bascule.model.health_checks import Health
from bascule.model.load_balancers import LoadBalancerState, ServiceState
from bascule.model.reports import BackendHealth
from bascule.store import health_statuses, lb_nodes, load_balancers, operations, placements, services, tables
from tests.unit.api.installation import Installation, installation, reference, service_body


def operation_state(api: Installation, operation_id: str) -> str:
    """What a user would be told of an operation."""
    state: str = api.users.get(f"/v2/operation/{operation_id}").json()["state"]
    return state


def test_creating_one_promises_an_operation_and_asks_for_a_reconciliation(api: Installation) -> None:
    """One transaction writes the row, its address, the operation and the request; the promise is kept by the store."""
    response = api.users.post("/v2/load-balancer", json={"name": "web", "labels": {"team": "shop"}})
    new_id, operation = reference(response), response.json()
    assert operation["reference"] == {
        "id": new_id,
        "link": f"/v2/load-balancer/{new_id}",
        "command": "get-load-balancer",
    }
    shown = api.users.get(f"/v2/load-balancer/{new_id}").json()
    assert (shown["state"], shown["ip"], shown["labels"]) == ("creating", "192.0.2.0", {"team": "shop"})
    queue = api.operators.get("/admin/v1/queue").json()["entries"]
    assert [(entry["id"], entry["waiting"], entry["priority"]) for entry in queue] == [(new_id, True, 0)]
    assert operation_state(api, operation["id"]) == "pending"
    with api.database.write() as connection:
        operations.succeed_up_to(connection, "load-balancer", UUID(new_id), 1)
    assert operation_state(api, operation["id"]) == "success"


def test_many_at_once_get_distinct_addresses_until_none_is_left(database_url: str) -> None:
    """Eight addresses serve eight of twelve concurrent requests; four are told that the pool is exhausted."""
    with installation(database_url, network="198.51.100.0/29") as api, ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: api.users.post("/v2/load-balancer", json={"name": "x"}), range(12)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 8 + [409] * 4
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"exhausted"}
        addresses = [one["ip"] for one in api.users.get("/v2/load-balancer").json()["load-balancers"]]
        assert len(set(addresses)) == 8


def test_a_wanted_address_must_be_free(api: Installation) -> None:
    """A taken address is 409 and names the field."""
    api.load_balancer(ip="192.0.2.5")
    before = api.rows()
    response = api.users.post("/v2/load-balancer", json={"name": "b", "ip": "192.0.2.5"})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (409, "ip")
    assert api.rows() == before


def test_an_elastic_ip_can_be_given_to_a_load_balancer_and_outlives_it(api: Installation) -> None:
    """A user's own address is attached, protected while it is used, and stays when the load balancer goes."""
    elastic_ip = reference(api.users.post("/v2/elastic-ip", json={"ip": "192.0.2.3"}))
    load_balancer = api.load_balancer(ip="192.0.2.3")
    refused = api.users.delete(f"/v2/elastic-ip/{elastic_ip}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in-use")
    with api.database.write() as connection:
        load_balancers.delete(connection, UUID(load_balancer))
    assert api.users.get(f"/v2/elastic-ip/{elastic_ip}").json()["ip"] == "192.0.2.3"
    reference(api.users.delete(f"/v2/elastic-ip/{elastic_ip}"))


def test_changing_one_keeps_what_is_left_out(api: Installation) -> None:
    """An update writes only what it was given, and a reset empties a field."""
    path = f"/v2/load-balancer/{api.load_balancer(description='shop', labels={'a': 'b'})}"
    reference(api.users.put(path, json={"name": "new"}))
    shown = api.users.get(path).json()
    assert (shown["name"], shown["description"], shown["labels"]) == ("new", "shop", {"a": "b"})
    reference(api.users.delete(f"{path}/description"))
    reference(api.users.delete(f"{path}/labels"))
    shown = api.users.get(path).json()
    assert (shown["description"], shown["labels"]) == ("", {})
    assert api.users.delete(f"{path}/name").status_code == 400


def test_one_being_deleted_keeps_its_address_and_takes_no_changes(api: Installation) -> None:
    """Until the nodes are clean the row and the address stay; deleting again is fine, changing is not."""
    load_balancer = api.load_balancer(ip="192.0.2.0")
    path = f"/v2/load-balancer/{load_balancer}"
    reference(api.users.delete(path))
    reference(api.users.delete(path))
    assert api.users.get(path).json()["state"] == "deleting"
    assert api.users.post("/v2/load-balancer", json={"name": "b", "ip": "192.0.2.0"}).status_code == 409
    assert api.users.put(path, json={"name": "b"}).status_code == 409
    assert api.users.post(f"{path}/service", json=service_body(api.pool())).status_code == 409
    with api.database.write() as connection:
        load_balancers.set_state(connection, UUID(load_balancer), LoadBalancerState.RUNNING)
        assert load_balancers.get(connection, UUID(load_balancer)).state is LoadBalancerState.DELETING
        load_balancers.delete(connection, UUID(load_balancer))
    assert api.users.get(path).status_code == 404
    assert api.load_balancer(ip="192.0.2.0")


def test_every_change_grows_the_generation(api: Installation) -> None:
    """What the nodes obey can be compared with what was asked for last."""
    load_balancer, pool = api.load_balancer(), api.pool()
    service = api.service(load_balancer, pool)
    path = f"/v2/load-balancer/{load_balancer}"
    reference(api.users.put(f"{path}/service/{service}", json={"port": 81}))
    reference(api.users.delete(f"{path}/service/{service}"))
    with api.database.read() as connection:
        assert load_balancers.get(connection, UUID(load_balancer)).generation == 4


def test_a_port_belongs_to_one_service(api: Installation) -> None:
    """The same port and protocol is 409 and names the service, also when a service would move there."""
    load_balancer, pool = api.load_balancer(), api.pool()
    api.service(load_balancer, pool)
    other = api.service(load_balancer, pool, name="dns", protocol="udp")
    path = f"/v2/load-balancer/{load_balancer}/service"
    for response in (
        api.users.post(path, json={**service_body(pool), "name": "again"}),
        api.users.put(f"{path}/{other}", json={"protocol": "tcp"}),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "taken")
        assert "service http" in response.json()["detail"]
        assert response.json()["errors"][0]["field"] == "port"


def test_a_service_is_changed_field_by_field(api: Installation) -> None:
    """A health check keeps what is left out, but not what its new mode has no use for."""
    load_balancer = api.load_balancer()
    path = f"/v2/load-balancer/{load_balancer}/service/{api.service(load_balancer, api.pool())}"
    reference(api.users.put(path, json={"healthcheck": {"interval": 3}, "hash-source-port": False}))
    shown = api.users.get(path).json()
    assert shown["healthcheck"] == {
        "mode": "http", "port": 8080, "interval": 3, "timeout": 2, "retries": 1, "uri": "/health"
    }  # fmt: skip
    assert (shown["hash-source-port"], shown["state"]) == (False, "updating")
    reference(api.users.put(path, json={"healthcheck": {"mode": "tcp"}}))
    assert "uri" not in api.users.get(path).json()["healthcheck"]
    refused = api.users.put(path, json={"healthcheck": {"mode": "https"}})
    assert refused.json()["errors"][0]["field"] == "healthcheck.uri"


def test_health_is_failure_when_any_placed_node_says_so(api: Installation) -> None:
    """Fresh verdicts of the placed nodes are combined; unknown and stale ones are left out."""
    load_balancer, pool = api.load_balancer(), api.pool(members=3)
    service = api.service(load_balancer, pool)
    members = api.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"]
    verdicts = (Health.SUCCESS, Health.FAILURE, Health.UNKNOWN)
    with api.database.write() as connection:
        node = lb_nodes.list_all(connection)[0]
        placements.replace(connection, UUID(load_balancer), frozenset([node.id]))
        reports = [
            BackendHealth(service_id=UUID(service), instance_id=UUID(member["id"]), health=verdict)
            for member, verdict in zip(members, verdicts, strict=True)
        ]
        now = connection.execute(select(tables.load_balancers.c.created_at)).scalar_one()
        health_statuses.replace_node(connection, node.id, reports, now)
        health_statuses.replace_node(connection, node.id, reports, now + 1)
    path = f"/v2/load-balancer/{load_balancer}"
    expected = [
        {"public-ip": members[0]["address"], "status": "success"},
        {"public-ip": members[1]["address"], "status": "failure"},
    ]
    assert api.users.get(f"{path}/service/{service}").json()["healthcheck-status"] == expected
    assert (
        api.users.get("/v2/load-balancer").json()["load-balancers"][0]["services"][0]["healthcheck-status"] == expected
    )
    detail = api.operators.get(f"/admin/v1/load-balancers/{load_balancer}").json()
    assert {one["instance"]: one["health"] for one in detail["health"]} == {
        member["id"]: verdict.value for member, verdict in zip(members, verdicts, strict=True)
    }
    assert detail["placements"][0]["name"] == "lb-1"
    with api.database.write() as connection:
        connection.execute(update(tables.health_statuses).values(observed_at=1.0))
    assert api.users.get(path).json()["services"][0]["healthcheck-status"] == []


@pytest.mark.parametrize("path", ["load-balancer", "instance-pool", "elastic-ip", "operation"])
def test_what_does_not_exist_is_404_and_what_is_no_identifier_400(api: Installation, path: str) -> None:
    """An unknown identifier is not found; a malformed one names the field."""
    assert api.users.get(f"/v2/{path}/00000000-0000-4000-8000-000000000000").status_code == 404
    response = api.users.get(f"/v2/{path}/web")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "id")


def test_states_that_workers_write_are_shown(api: Installation) -> None:
    """The orchestrator's words reach the user."""
    load_balancer = api.load_balancer()
    api.service(load_balancer, api.pool())
    with api.database.write() as connection:
        load_balancers.set_state(connection, UUID(load_balancer), LoadBalancerState.RUNNING)
        services.set_states(connection, UUID(load_balancer), ServiceState.RUNNING)
    shown = api.users.get(f"/v2/load-balancer/{load_balancer}").json()
    assert (shown["state"], shown["services"][0]["state"]) == ("running", "running")


def test_where_it_shall_be_reads_back_and_is_left_out_while_nothing_is_asked(api: Installation) -> None:
    """Nodes, affinity and group are shown when given, kept by other changes, and gone after a reset."""
    node = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"][0]["id"]
    assert api.operators.put(f"/admin/v1/lb-nodes/{node}", json={"labels": {"net": "10g"}}).status_code == 200
    asked = {"node-count": 3, "affinity": {"net": "10g"}, "anti-affinity": "shop"}
    path = f"/v2/load-balancer/{api.load_balancer(**asked)}"
    reference(api.users.put(path, json={"name": "new"}))
    shown = api.users.get(path).json()
    assert {name: shown.get(name) for name in asked} == asked
    for field in asked:
        reference(api.users.delete(f"{path}/{field}"))
    assert not api.users.get(path).json().keys() & asked.keys()
    assert not api.users.get(f"/v2/load-balancer/{api.load_balancer()}").json().keys() & asked.keys()


def test_an_affinity_that_no_node_has_is_refused(api: Installation) -> None:
    """When it is asked for, by its field; one that is there already hinders no other change."""
    node = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"][0]["id"]
    api.operators.put(f"/admin/v1/lb-nodes/{node}", json={"labels": {"net": "10g"}})
    path = f"/v2/load-balancer/{api.load_balancer(affinity={'net': '10g'})}"
    refused = api.users.put(path, json={"affinity": {"net": "1g"}})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (409, "affinity")
    assert "net=1g" in refused.json()["detail"]
    api.operators.put(f"/admin/v1/lb-nodes/{node}", json={"labels": {}})
    reference(api.users.put(path, json={"name": "new", "affinity": {"net": "10g"}}))
