"""Instance pools and their members, through both APIs."""

from __future__ import annotations

from uuid import UUID

from bascule.model.instance_pools import InstancePoolState
from bascule.store import load_balancers, operations
from tests.unit.api.installation import Installation, created, reference


def test_a_pool_grows_by_registration_and_scales_up_to_it(api: Installation) -> None:
    """Scaling above what is registered is 409 and says how to register; the size caps who serves, oldest first."""
    pool = api.pool(members=2, size=1)
    assert [one["active"] for one in api.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"]] == [
        True,
        False,
    ]
    before = api.rows()
    refused = api.users.put(f"/v2/instance-pool/{pool}:scale", json={"size": 3})
    assert (refused.status_code, refused.json()["code"]) == (409, "exhausted")
    assert "/admin/v1/instance-pools/" in refused.json()["detail"]
    assert api.rows() == before
    reference(api.users.put(f"/v2/instance-pool/{pool}:scale", json={"size": 2}))
    assert api.users.get(f"/v2/instance-pool/{pool}").json()["size"] == 2


def test_a_change_of_a_pool_waits_for_every_load_balancer_that_uses_it(api: Installation) -> None:
    """The operation succeeds only when the last of them has followed; others are left alone."""
    pool, other = api.pool(members=2, size=1), api.load_balancer()
    users = [api.load_balancer(), api.load_balancer()]
    for user in users:
        api.service(user, pool)
    operation = api.users.put(f"/v2/instance-pool/{pool}:scale", json={"size": 2}).json()
    states = []
    for user in users:
        states.append(api.users.get(f"/v2/operation/{operation['id']}").json()["state"])
        with api.database.write() as connection:
            operations.succeed_up_to(connection, "load-balancer", UUID(user), 3)
    assert states == ["pending", "pending"]
    assert api.users.get(f"/v2/operation/{operation['id']}").json()["state"] == "success"
    with api.database.read() as connection:
        generations = {one.id: one.generation for one in load_balancers.list_all(connection)}
    assert generations == {UUID(users[0]): 3, UUID(users[1]): 3, UUID(other): 1}


def test_a_change_of_a_pool_nobody_uses_succeeds_at_once(api: Installation) -> None:
    """There is nothing to wait for."""
    answer = api.users.put(f"/v2/instance-pool/{api.pool(members=1, size=1)}:scale", json={"size": 1})
    assert answer.json()["state"] == "success"


def test_evicting_takes_members_out_and_shrinks_the_pool(api: Installation) -> None:
    """The evicted one serves no more, its place is not filled by one that stood by, and operators can undo it."""
    pool = api.pool(members=3, size=2)
    path = f"/admin/v1/instance-pools/{pool}"
    first = api.operators.get(path).json()["instances"][0]["id"]
    reference(api.users.put(f"/v2/instance-pool/{pool}:evict", json={"instances": [first]}))
    shown = api.operators.get(path).json()
    assert (shown["size"], [one["active"] for one in shown["instances"]]) == (1, [False, True, False])
    assert first not in [one["id"] for one in api.users.get(f"/v2/instance-pool/{pool}").json()["instances"]]
    changed = api.operators.put(f"{path}/instances/{first}", json={"evicted": False}).json()
    assert [one["active"] for one in changed["instances"]] == [True, False, False]
    stranger = api.users.put(f"/v2/instance-pool/{pool}:evict", json={"instances": [pool]})
    assert (stranger.status_code, stranger.json()["errors"][0]["field"]) == (400, "instances")


def test_a_pool_in_use_is_not_deleted(api: Installation) -> None:
    """The refusal names the service and its load balancer; without them the pool and its members go."""
    pool, load_balancer = api.pool(), api.load_balancer(name="shop")
    service = api.service(load_balancer, pool)
    refused = api.users.delete(f"/v2/instance-pool/{pool}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in-use")
    assert "http of shop" in refused.json()["detail"]
    reference(api.users.delete(f"/v2/load-balancer/{load_balancer}/service/{service}"))
    reference(api.users.delete(f"/v2/instance-pool/{pool}"))
    assert api.users.get(f"/v2/instance-pool/{pool}").status_code == 404
    assert api.rows()["instances"] == 0


def test_what_only_the_machines_manager_uses_reads_back_as_written(api: Installation) -> None:
    """instance-type, template and disk-size are kept; the pool is short until members are registered."""
    identifier = "11111111-1111-4111-8111-111111111111"
    body = {
        "name": "p",
        "size": 2,
        "instance-type": {"id": identifier},
        "template": {"id": identifier},
        "disk-size": 10,
    }
    pool = reference(api.users.post("/v2/instance-pool", json=body))
    reference(api.users.put(f"/v2/instance-pool/{pool}", json={"disk-size": 20, "description": "d"}))
    shown = api.users.get(f"/v2/instance-pool/{pool}").json()
    assert shown["state"] == InstancePoolState.SCALING_UP
    assert {name: shown[name] for name in body} == {**body, "disk-size": 20}
    reference(api.users.delete(f"/v2/instance-pool/{pool}/description"))
    assert "description" not in api.users.get(f"/v2/instance-pool/{pool}").json()


def test_an_address_belongs_to_one_instance(api: Installation) -> None:
    """A second registration of an address is 409 and writes nothing; moving to another hypervisor is fine."""
    pool = api.pool()
    path = f"/admin/v1/instance-pools/{pool}"
    member = api.operators.get(path).json()["instances"][0]
    before = api.rows()
    again = {"name": "x", "address": member["address"], "hypervisor": "hv-1"}
    assert api.operators.post(f"{path}/instances", json=again).json()["code"] == "taken"
    stranger = {"name": "x", "address": "10.9.9.9", "hypervisor": "hv-9"}
    assert api.operators.post(f"{path}/instances", json=stranger).json()["errors"][0]["field"] == "hypervisor"
    assert api.rows() == before
    agent = {"agent-url": "http://192.0.2.9:7701", "agent-token": "a-token-of-an-agent"}
    other = created(api.operators.post("/admin/v1/hypervisors", json={"name": "hv-2", **agent}))
    changed = api.operators.put(f"{path}/instances/{member['id']}", json={"hypervisor": "hv-2", "weight": 0}).json()
    assert (changed["instances"][0]["hypervisor"], changed["instances"][0]["weight"]) == (other["id"], 0)
    assert api.operators.delete(f"{path}/instances/{member['id']}").json()["instances"] == []


def test_a_move_is_announced_and_called_off(api: Installation) -> None:
    """Whom a member is about to move to cannot be forgotten; a move ends with itself, or where it began."""
    path = f"/admin/v1/instance-pools/{api.pool()}"
    member = api.operators.get(path).json()["instances"][0]
    agent = {"agent-url": "http://192.0.2.9:7701", "agent-token": "a-token-of-an-agent"}
    other = created(api.operators.post("/admin/v1/hypervisors", json={"name": "hv-2", **agent}))["id"]

    def change(**what: str) -> tuple[str, str | None]:
        body = {name.replace("_", "-"): value for name, value in what.items()}
        found = api.operators.put(f"{path}/instances/{member['id']}", json=body).json()["instances"][0]
        return found["hypervisor"], found.get("moving-to")

    here = member["hypervisor"]
    assert change(moving_to="hv-2") == (here, other)
    assert "web-0" in api.operators.delete(f"/admin/v1/hypervisors/{other}").json()["detail"]
    assert change(moving_to=here) == (here, None)
    assert change(moving_to=other) == (here, other)
    assert change(hypervisor="hv-2") == (other, None)
    wrong = api.operators.put(f"{path}/instances/{member['id']}", json={"moving-to": "hv-9"}).json()
    assert wrong["errors"][0]["field"] == "moving-to"
