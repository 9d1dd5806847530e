"""Drains through the operators' API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.api.installation import Installation, created, reference

Json = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A load balancer's pool of three instances."""

    api: Installation
    pool: str

    def members(self) -> list[Json]:
        """As operators see them."""
        found: list[Json] = self.api.operators.get(f"/admin/v1/instance-pools/{self.pool}").json()["instances"]
        return found

    def put(self, path: str, body: Json | None = None) -> Json:
        """A verb that works."""
        response = self.api.operators.put(f"/admin/v1/{path}", json=body or {})
        assert response.status_code == 200, response.text
        found: Json = response.json()
        return found

    def path(self, number: int) -> str:
        """Of one member."""
        return f"instance-pools/{self.pool}/instances/{self.members()[number]['id']}"


@pytest.fixture
def served(api: Installation) -> Served:
    """A service on the pool."""
    pool = api.pool(members=3)
    api.service(api.load_balancer(), pool)
    return Served(api, pool)


def seconds_left(until: str) -> float:
    """From now."""
    return (datetime.fromisoformat(until) - datetime.now(UTC)) / timedelta(seconds=1)


def test_an_instance_drains_until_a_deadline_and_can_be_undrained(served: Served) -> None:
    """It serves no more at once; the default deadline is five minutes; undone, it serves as before."""
    (found,) = served.put(f"{served.path(0)}:drain")["instances"]
    assert 280 < seconds_left(found["until"]) <= 300
    assert [each["active"] for each in served.members()] == [False, True, True]
    assert [each["name"] for each in served.api.operators.get("/admin/v1/drains").json()["instances"]] == ["web-0"]
    served.put(f"{served.path(0)}:undrain")
    assert [each["active"] for each in served.members()] == [True, True, True]
    assert served.api.operators.get("/admin/v1/drains").json()["instances"] == []


def test_asked_twice_the_last_deadline_counts(served: Served) -> None:
    """Longer or shorter; zero ends it."""
    deadlines = []
    for deadline in (100, 1000, 0):
        (found,) = served.put(f"{served.path(0)}:drain", {"deadline": deadline})["instances"]
        deadlines.append(0 if found["until"] is None else round(seconds_left(found["until"]), -2))
    assert deadlines == [100, 1000, 0]


def test_undone_after_its_end_an_instance_serves_again(served: Served) -> None:
    """Draining with the deadline zero is over at once; nothing but undraining brings it back."""
    served.put(f"{served.path(1)}:drain", {"deadline": 0})
    assert served.members()[1]["drain-until"] is None
    assert not served.members()[1]["active"]
    served.put(f"{served.path(1)}:drain", {"deadline": 60})
    assert served.members()[1]["drain-until"] is None  # it has nothing to keep
    served.put(f"{served.path(1)}:undrain")
    assert served.members()[1]["active"]


def test_a_pool_and_a_hypervisor_drain_with_all_their_instances(served: Served) -> None:
    """Of all pools; and they come back together."""
    other = served.api.pool(members=1)
    for noun, drained in ((f"instance-pools/{served.pool}", 3), (_hypervisor(served), 4)):
        assert len(served.put(f"{noun}:drain")["instances"]) == drained
        assert not any(each["active"] for each in served.members())
        served.put(f"{noun}:undrain")
        assert all(each["active"] for each in served.members())
    assert other


def test_a_removed_instance_drains_before_it_goes(served: Served) -> None:
    """It is shown as leaving; undraining keeps it; without a deadline it is gone at once."""
    path = f"/admin/v1/{served.path(2)}"
    assert served.api.operators.delete(path).status_code == 200
    assert (served.members()[2]["leaving"], served.members()[2]["active"]) == (True, False)
    served.put(f"{served.path(2)}:undrain")
    assert (served.members()[2]["leaving"], served.members()[2]["active"]) == (False, True)
    assert served.api.operators.delete(path, params={"drain-deadline": 0}).status_code == 200
    assert len(served.members()) == 2


def test_a_removed_instance_gives_up_its_address_to_who_comes(served: Served) -> None:
    """Whoever is registered anew with the address of one that only keeps connections takes its place."""
    member = served.members()[0]
    served.api.operators.delete(f"/admin/v1/{served.path(0)}")
    body = {"name": "again", "address": member["address"], "hypervisor": "hv-1"}
    created(served.api.operators.post(f"/admin/v1/instance-pools/{served.pool}/instances", json=body))
    assert [each["name"] for each in served.members()] == ["web-1", "web-2", "again"]


def test_members_beyond_the_size_of_a_shrunk_pool_drain(served: Served) -> None:
    """Those that stood by before do not; nor does anybody with the deadline zero."""
    reference(served.api.users.put(f"/v2/instance-pool/{served.pool}:scale", json={"size": 2}))
    assert [each["drain-until"] is not None for each in served.members()] == [False, False, True]
    body = {"size": 1, "drain-deadline": 0}
    reference(served.api.users.put(f"/v2/instance-pool/{served.pool}:scale", json=body))
    assert [each["drain-until"] is not None for each in served.members()] == [False, False, True]
    reference(served.api.users.put(f"/v2/instance-pool/{served.pool}:scale", json={"size": 3}))
    assert [each["drain-until"] for each in served.members()] == [None, None, None]


def test_evicted_members_drain(served: Served) -> None:
    """And cannot be counted on by who scales up."""
    member = served.members()[0]["id"]
    reference(served.api.users.put(f"/v2/instance-pool/{served.pool}:evict", json={"instances": [member]}))
    assert served.members()[0]["drain-until"] is not None
    assert served.api.users.put(f"/v2/instance-pool/{served.pool}:scale", json={"size": 3}).status_code == 409


def test_without_a_service_there_is_nothing_to_keep(api: Installation) -> None:
    """A member of a pool that nobody uses goes at once."""
    served = Served(api, api.pool(members=2))
    served.put(f"{served.path(0)}:drain")
    assert served.members()[0]["drain-until"] is None
    api.operators.delete(f"/admin/v1/{served.path(0)}")
    assert len(served.members()) == 1


@pytest.mark.parametrize(("deadline", "words"), [(-1, "deadline"), (604_801, "deadline"), ("5m", "deadline")])
def test_a_wrong_deadline_is_refused_by_name(served: Served, deadline: object, words: str) -> None:
    """The problem names the field, and nothing drains."""
    response = served.api.operators.put(f"/admin/v1/{served.path(0)}:drain", json={"deadline": deadline})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, words)
    assert all(each["active"] for each in served.members())


def test_a_node_that_carries_nothing_is_drained_at_once_and_enabled_again(api: Installation) -> None:
    """With something to carry it keeps a deadline; `enabled` in either way ends that."""
    (node,) = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"]
    path = f"/admin/v1/lb-nodes/{node['id']}"
    (found,) = api.operators.put(f"{path}:drain", json={}).json()["lb-nodes"]
    shown = api.operators.get(path).json()
    assert (found["until"], shown["enabled"], shown["drain-until"]) == (None, False, None)
    api.operators.put(f"{path}:undrain", json={})
    assert api.operators.get(path).json()["enabled"]


def test_what_is_not_there_cannot_drain(api: Installation) -> None:
    """404, for every noun."""
    nobody = "00000000-0000-0000-0000-000000000000"
    for noun in ("lb-nodes", "hypervisors", "instance-pools"):
        assert api.operators.put(f"/admin/v1/{noun}/{nobody}:drain", json={}).status_code == 404
    pool = api.pool()
    path = f"/admin/v1/instance-pools/{pool}/instances/{nobody}"
    assert api.operators.put(f"{path}:undrain", json={}).status_code == 404


def _hypervisor(served: Served) -> str:
    (found,) = served.api.operators.get("/admin/v1/hypervisors").json()["hypervisors"]
    return f"hypervisors/{found['id']}"
