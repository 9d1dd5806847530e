"""What a change would do, through the operators' API: nothing is written."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import select

from bascule.clock import SystemClock
from bascule.model.load_balancers import LoadBalancerState
from bascule.store.load_balancers import set_state
from bascule.store.tables import lb_nodes, load_balancers, orchestration
from tests.unit.api.installation import Installation, Json, service_body
from tests.unit.api.test_states import carried


def planned(api: Installation, method: str, path: str, body: Json | None = None) -> Json:
    """The plan of a change, which must leave every row count, generation and request as it was."""

    def everything() -> object:
        with api.database.read() as connection:
            queue = connection.execute(select(orchestration.reconciliations)).all()
            return api.rows(), connection.execute(select(load_balancers)).all(), queue

    before = everything()
    answer = api.operators.post("/admin/v1/plan", json={"method": method, "path": path, "body": body or {}})
    assert answer.status_code == 200, answer.text
    assert everything() == before
    found: Json = answer.json()
    return found


@pytest.fixture
def served(api: Installation) -> tuple[str, str]:
    """A load balancer that the only LB node carries, with a service on a pool of four; both identifiers."""
    pool, load_balancer = api.pool(members=4), api.load_balancer()
    api.service(load_balancer, pool)
    carried(api, load_balancer)
    with api.database.write() as connection:
        set_state(connection, UUID(load_balancer), LoadBalancerState.RUNNING)
    return load_balancer, pool


def test_scaling_a_pool_tells_steps_nodes_and_what_moves(api: Installation, served: tuple[str, str]) -> None:
    """One of four instances leaves at once: its quarter breaks, and hardly anything else moves."""
    body = {"size": 3, "drain-deadline": 0}
    (found,) = planned(api, "PUT", f"/v2/instance-pool/{served[1]}:scale", body)["load-balancers"]
    titles = [step["title"] for step in found["steps"]]
    assert "serve 1 services on lb-1" in titles
    assert titles.index("serve 1 services on lb-1") < titles.index("apply 3 rules on hv-1")
    assert found["touches"] == ["hv-1", "lb-1"]
    (service,) = found["services"]
    assert 0.2 < service["cut"] < 0.3
    assert service["cut"] <= service["moved"] < service["cut"] + 0.1
    assert (service["connections"], service["remembered-for"]) == (None, 900.0)


def test_a_pool_that_shrinks_breaks_nothing(api: Installation, served: tuple[str, str]) -> None:
    """Whoever serves no more drains: its rules stay, and its connections are remembered."""
    (found,) = planned(api, "PUT", f"/v2/instance-pool/{served[1]}:scale", {"size": 3})["load-balancers"]
    assert found["touches"] == ["lb-1"]
    assert [service["cut"] for service in found["services"]] == [0]


def test_a_weight_of_zero_breaks_nothing(api: Installation, served: tuple[str, str]) -> None:
    """Its slots move, its connections are remembered."""
    pool = api.operators.get(f"/admin/v1/instance-pools/{served[1]}").json()
    path = f"/admin/v1/instance-pools/{served[1]}/instances/{pool['instances'][0]['id']}"
    (found,) = planned(api, "PUT", path, {"weight": 0})["load-balancers"]
    (service,) = found["services"]
    assert service["cut"] == 0
    assert 0.2 < service["moved"] < 0.35


def test_where_the_kernel_counts_connections_they_are_told(api: Installation) -> None:
    """With IPVS: two connections are open to the first instance; how many others move is not known, and said so."""
    pool, load_balancer = api.pool(members=2), api.load_balancer()
    api.service(load_balancer, pool)
    node = carried(api, load_balancer, runs="ipvs")
    api.operators.put(f"/admin/v1/lb-nodes/{node.id}", json={"data-plane": "ipvs"})
    members = api.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"]
    body = {"instances": [members[0]["id"]], "drain-deadline": 0}
    (found,) = planned(api, "PUT", f"/v2/instance-pool/{pool}:evict", body)["load-balancers"]
    (service,) = found["services"]
    assert (service["connections"], service["connections-cut"], service["moved"]) == (2, 2, None)
    assert service["sentence"] == "Not known for maglev-hash on ipvs."


def test_services_and_load_balancers_come_and_go_in_plans(api: Installation, served: tuple[str, str]) -> None:
    """Adding and deleting a service, creating and deleting a load balancer."""
    load_balancer, pool = served
    path = f"/v2/load-balancer/{load_balancer}"
    (found,) = planned(api, "POST", f"{path}/service", {**service_body(pool), "port": 443})["load-balancers"]
    assert "serve 2 services on lb-1" in [step["title"] for step in found["steps"]]
    assert [each["sentence"] for each in found["services"]] == ["The service is new."]
    service = api.users.get(path).json()["services"][0]["id"]
    (found,) = planned(api, "DELETE", f"{path}/service/{service}")["load-balancers"]
    assert [each["cut"] for each in found["services"]] == [1.0]
    (found,) = planned(api, "DELETE", path)["load-balancers"]
    titles = [step["title"] for step in found["steps"]]
    assert titles[-1] == "delete the record and release the address"
    assert "stop serving on lb-1" in titles
    (found,) = planned(api, "POST", "/v2/load-balancer", {"name": "another"})["load-balancers"]
    assert "announce 192.0.2.1 from lb-1" in [step["title"] for step in found["steps"]]


def test_disabling_a_node_tells_what_becomes_of_each_load_balancer(api: Installation, served: tuple[str, str]) -> None:
    """Without another node there is no place to go, and the plan says so; with one it moves."""
    (node,) = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"]
    path = f"/admin/v1/lb-nodes/{node['id']}"
    (found,) = planned(api, "PUT", path, {"enabled": False})["load-balancers"]
    assert (found["steps"], found["sentence"][:26]) == ([], "No enabled LB node answers")
    agent = {"agent-url": "http://192.0.2.2:7701", "agent-token": "a-token-of-an-agent"}
    api.operators.post("/admin/v1/lb-nodes", json={"name": "lb-2", **agent})
    # The watch sees both, and what lb-1 carries is what was written down before.
    with api.database.write() as connection:
        connection.execute(lb_nodes.update().values(seen_at=SystemClock().now()))
    (found,) = planned(api, "PUT", path, {"enabled": False})["load-balancers"]
    titles = [step["title"] for step in found["steps"]]
    assert "announce 192.0.2.0 from lb-2" in titles
    assert "stop serving on lb-1" in titles
    assert found["touches"] == ["lb-1", "lb-2"]


def test_a_refused_change_is_refused_in_a_plan_too(api: Installation) -> None:
    """With the change's own error; and plans of plans, of reads and of other paths are refused."""
    for path, status in (
        (f"/v2/load-balancer/{UUID(int=7)}", 404),
        ("/v2/nothing", 404),
        ("/admin/v1/plan", 400),
        ("/docs", 400),
        ("/v2/load-balancer?x=1", 400),
    ):
        answer = api.operators.post("/admin/v1/plan", json={"method": "DELETE", "path": path})
        assert answer.status_code == status, answer.text
    answer = api.operators.post(
        "/admin/v1/plan", json={"method": "POST", "path": "/v2/load-balancer", "body": {"x": 1}}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"]
    answer = api.users.post("/admin/v1/plan", json={"method": "DELETE", "path": "/v2/load-balancer"})
    assert answer.status_code == 403
