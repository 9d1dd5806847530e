"""Machines, ranges, jobs and the queue, through the operators' API."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import delete, insert, select, update

from bascule.model.nodes import Silence
from bascule.orchestration.queue import Priority
from bascule.store import drift_findings, drift_quarantines, lb_nodes, placements
from bascule.store.tables import orchestration
from tests.unit.api.installation import Installation, created

AGENT = {"agent-url": "http://192.0.2.9:7701", "agent-token": "a-token-of-an-agent"}


def test_an_lb_node_goes_when_it_is_disabled_and_empty(api: Installation) -> None:
    """It is refused while it carries a load balancer, whose name is said, and while it is enabled."""
    load_balancer = api.load_balancer(name="shop")
    node = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"][0]["id"]
    path = f"/admin/v1/lb-nodes/{node}"
    with api.database.write() as connection:
        placements.replace(connection, UUID(load_balancer), frozenset([UUID(node)]))
    assert "shop" in api.operators.delete(path).json()["detail"]
    with api.database.write() as connection:
        placements.replace(connection, UUID(load_balancer), frozenset())
    assert api.operators.delete(path).json()["code"] == "in-use"
    assert api.operators.put(path, json={"enabled": False}).json()["enabled"] is False
    assert api.operators.delete(path).status_code == 204
    assert api.operators.get(path).status_code == 404


def test_a_dead_lb_node_goes_with_what_it_carried(api: Installation) -> None:
    """Not while it is enabled; then an operator's word is enough, and its load balancers are looked at again."""
    load_balancer = UUID(api.load_balancer(name="shop"))
    node = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"][0]["id"]
    path = f"/admin/v1/lb-nodes/{node}"
    with api.database.write() as connection:
        placements.replace(connection, load_balancer, frozenset(), leaving=frozenset([UUID(node)]))
    assert api.operators.delete(f"{path}?dead=true").json()["code"] == "in-use"
    assert api.operators.put(path, json={"enabled": False}).status_code == 200
    assert "--dead" in api.operators.delete(path).json()["detail"]
    assert api.operators.delete(f"{path}?dead=true").status_code == 204
    with api.database.read() as connection:
        assert placements.leaving(connection, load_balancer) == frozenset()
        reasons = connection.execute(select(orchestration.reconciliations.c.reasons)).scalars().one()
    assert "LB node lb-1 is dead" in reasons


def test_names_of_machines_are_unique(api: Installation) -> None:
    """A second machine of the same name is 409, also by renaming."""
    for kind, taken in (("lb-nodes", "lb-1"), ("hypervisors", "hv-1")):
        assert api.operators.post(f"/admin/v1/{kind}", json={"name": taken, **AGENT}).status_code == 409
        other = created(api.operators.post(f"/admin/v1/{kind}", json={"name": "other", **AGENT}))
        response = api.operators.put(f"/admin/v1/{kind}/{other['id']}", json={"name": taken})
        assert (response.status_code, response.json()["errors"][0]["field"]) == (409, "name")


def test_a_hypervisor_that_carries_instances_stays(api: Installation) -> None:
    """The refusal names the instances."""
    pool = api.pool()
    hypervisor = api.operators.get("/admin/v1/hypervisors").json()["hypervisors"][0]["id"]
    assert "web-0" in api.operators.delete(f"/admin/v1/hypervisors/{hypervisor}").json()["detail"]
    member = api.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"][0]["id"]
    assert api.operators.delete(f"/admin/v1/instance-pools/{pool}/instances/{member}").status_code == 200
    assert api.operators.delete(f"/admin/v1/hypervisors/{hypervisor}").status_code == 204


def test_address_pools_do_not_overlap_and_stay_while_in_use(api: Installation) -> None:
    """An overlapping range is 409; a range goes when its last address is free."""
    overlapping = api.operators.post("/admin/v1/address-pools", json={"name": "x", "network": "192.0.2.4/30"})
    assert (overlapping.status_code, overlapping.json()["errors"][0]["field"]) == (409, "network")
    api.load_balancer(name="shop")
    pool = api.operators.get("/admin/v1/address-pools").json()["address-pools"][0]
    assert pool["taken"] == 1
    assert "shop" in api.operators.delete(f"/admin/v1/address-pools/{pool['id']}").json()["detail"]
    other = created(api.operators.post("/admin/v1/address-pools", json={"name": "b", "network": "198.51.100.0/31"}))
    assert api.operators.delete(f"/admin/v1/address-pools/{other['id']}").status_code == 204


def test_operators_can_ask_for_reconciliations(api: Installation) -> None:
    """Some or all; each waits in the queue once, with every reason."""
    first, _ = api.load_balancer(), api.load_balancer()
    reconcile = "/admin/v1/load-balancers:reconcile"
    assert api.operators.post(reconcile, json={"ids": [first, first]}).json() == {"requested": 1}
    assert api.operators.post(reconcile, json={}).json() == {"requested": 2}
    entries = {entry["id"]: entry for entry in api.operators.get("/admin/v1/queue").json()["entries"]}
    assert entries[first]["reasons"] == ["create-load-balancer", "an operator asked"]
    assert len(entries) == 2


def test_operators_choose_load_balancers_by_labels_and_say_how_urgent_they_are(api: Installation) -> None:
    """All labels must be carried; a priority of the list is needed."""
    first = api.load_balancer(labels={"stage": "test", "team": "a"})
    second = api.load_balancer(labels={"stage": "test"})
    api.load_balancer()
    with api.database.write() as connection:
        connection.execute(update(orchestration.reconciliations).values(done=1))
    reconcile, test = "/admin/v1/load-balancers:reconcile", {"stage": "test"}
    assert api.operators.post(reconcile, json={"labels": test, "priority": "periodic"}).json() == {"requested": 2}
    assert api.operators.post(reconcile, json={"labels": {**test, "team": "a"}}).json() == {"requested": 1}
    assert api.operators.post(reconcile, json={"labels": test, "ids": [second]}).json() == {"requested": 1}
    entries = {entry["id"]: entry for entry in api.operators.get("/admin/v1/queue").json()["entries"]}
    assert [entries[each]["priority"] for each in (first, second)] == [Priority.OPERATOR] * 2
    assert sum(entry["waiting"] for entry in entries.values()) == 2
    refused = api.operators.post(reconcile, json={"priority": "now"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "priority")


def test_machine_events_can_be_told_without_a_bus(api: Installation) -> None:
    """They mean the same as over the bus; what cannot be obeyed is refused with the field."""
    pool = api.pool()
    tell = "/admin/v1/machine-events"
    event = {"machine": "vm-1", "at": "2026-01-31T12:00:00Z", "address": "10.7.0.1", "hypervisor": "hv-1"}
    created = {**event, "kind": "created", "sequence": 1, "pool": pool}
    answers = [
        api.operators.post(tell, json=body)
        for body in (created, created, {**event, "kind": "stopped", "sequence": 2}, {**created, "pool": "no"})
    ]
    assert [answer.json() for answer in answers[:3]] == [
        {"meaning": meaning} for meaning in ("register", "nothing", "change")
    ]
    assert answers[3].json() == {"meaning": "nothing"}  # it is older than what was obeyed
    member = api.operators.get(f"/admin/v1/instance-pools/{pool}").json()["instances"][-1]
    assert (member["name"], member["stopped"], member["active"]) == ("vm-1", True, False)
    refused = api.operators.post(tell, json={**created, "machine": "vm-2", "pool": "no"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "pool")
    assert api.strangers.post(tell, json=created).status_code == 403


def test_drift_is_shown_while_it_lasts_and_afterwards_on_request(api: Installation) -> None:
    """The newest first; what is over only when it is asked for."""
    lasting, over, load_balancer, node = (str(uuid4()) for _ in range(4))
    fields = {"kind": "missing", "node_id": node, "node": "hv-1", "load_balancer_id": load_balancer, "words": "a rule"}
    with api.database.write() as connection:
        drift_findings.add(connection, {lasting: fields, over: fields}, now=10.0)
        drift_findings.see_again(connection, lasting, "two rules", now=20.0)
        drift_findings.resolve(connection, [over], now=15.0)
    (shown,) = api.operators.get("/admin/v1/drift").json()["findings"]
    assert (shown["what"], shown["node"], shown["load-balancer"]) == ("two rules", "hv-1", load_balancer)
    assert (shown["first-seen"], shown["last-seen"]) == ("1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z")
    found = api.operators.get("/admin/v1/drift?resolved=true").json()["findings"]
    assert [finding["resolved-at"] for finding in found] == [None, "1970-01-01T00:00:15Z"]
    assert api.operators.get("/admin/v1/drift?limit=0").json()["errors"][0]["field"] == "limit"


def test_jobs_are_shown_as_they_were_recorded(api: Installation) -> None:
    """The newest first, of one entity or all, and the steps in the order of the tree (2 before 10)."""
    job, entity = str(uuid4()), str(uuid4())
    steps = [{"path": path, "node": "step", "title": path, "state": "success"} for path in ("10", "2", "2.1", "1")]
    with api.database.write() as connection:
        connection.execute(
            insert(orchestration.jobs).values(
                id=job, kind="load-balancer", entity_id=entity, epoch=1, event="Serve", state="success", started_at=1.0
            )
        )
        connection.execute(insert(orchestration.job_steps).values(job_id=job), steps)
    assert [one["id"] for one in api.operators.get(f"/admin/v1/jobs?entity={entity}").json()["jobs"]] == [job]
    assert api.operators.get(f"/admin/v1/jobs?entity={uuid4()}").json()["jobs"] == []
    shown = api.operators.get(f"/admin/v1/jobs/{job}").json()
    assert [step["path"] for step in shown["steps"]] == ["1", "2", "2.1", "10"]
    assert api.operators.get("/admin/v1/jobs?limit=0").json()["errors"][0]["field"] == "limit"


def test_quarantines_are_listed_shown_with_their_findings_and_released(api: Installation) -> None:
    """Releasing asks for a reconciliation, once for all; an unknown one is 404."""
    load_balancer, node = UUID(api.load_balancer(name="shop")), uuid4()
    fields = {"kind": "missing", "node_id": str(node), "node": "lb-1", "words": "its announcement"}
    row = drift_quarantines.new(node, "lb-1", load_balancer, "missing came back", now=7.0)
    with api.database.write() as connection:
        drift_findings.add(connection, {"key": {**fields, "load_balancer_id": str(load_balancer)}}, now=6.0)
        drift_quarantines.add(connection, [row])
    (finding,) = api.operators.get("/admin/v1/drift").json()["findings"]
    assert finding["quarantined-since"] == "1970-01-01T00:00:07Z"
    (listed,) = api.operators.get("/admin/v1/drift/quarantines").json()["quarantines"]
    assert (listed["node"], listed["reason"], listed["released-at"]) == ("lb-1", "missing came back", None)
    path = f"/admin/v1/drift/quarantines/{listed['id']}/release"
    first = api.operators.post(path, json={}).json()
    assert first["released-at"] is not None
    assert api.operators.post(path, json={}).json() == first
    assert api.operators.get("/admin/v1/drift/quarantines").json() == {"quarantines": []}
    assert api.operators.get("/admin/v1/drift").json()["findings"][0]["quarantined-since"] is None
    with api.database.read() as connection:
        reasons = connection.execute(select(orchestration.reconciliations.c.reasons)).scalars().one()
    assert "released from quarantine on lb-1" in reasons
    assert api.operators.post(f"/admin/v1/drift/quarantines/{uuid4()}/release", json={}).status_code == 404


def test_a_silent_node_is_shown_with_what_becomes_of_it(api: Installation) -> None:
    """Since when, and that it is replaced; nothing of the kind while it answers."""
    path = "/admin/v1/lb-nodes"
    (node,) = api.operators.get(path).json()["lb-nodes"]
    assert (node["silent-since"], node["silence"]) == (None, "")
    with api.database.write() as connection:
        lb_nodes.set_silence(connection, UUID(node["id"]), 0.0, Silence.REPLACED)
    (node,) = api.operators.get(path).json()["lb-nodes"]
    assert (node["silent-since"][:10], node["silence"]) == ("1970-01-01", "replaced")
    assert api.operators.get(f"{path}/{node['id']}").json() == node


def test_rebalancing_says_how_many_move(api: Installation) -> None:
    """As many as were allowed go to the new node and are to be reconciled; the others are left for later."""
    (node,) = api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"]
    everything = [UUID(api.load_balancer(**{"node-count": 1})) for _ in range(6)]
    with api.database.write() as connection:
        for load_balancer_id in everything:
            placements.replace(connection, load_balancer_id, frozenset([UUID(node["id"])]))
    other = created(api.operators.post("/admin/v1/lb-nodes", json={"name": "new", **AGENT}))
    with api.database.write() as connection:
        connection.execute(delete(orchestration.reconciliations))
    path = "/admin/v1/lb-nodes:rebalance"
    assert api.operators.post(path, json={"at-most": 2}).json() == {"moved": 2, "under-way": 0, "left": 1}
    assert api.operators.post(path, json={"at-most": 2}).json() == {"moved": 0, "under-way": 2, "left": 1}
    with api.database.read() as connection:
        assert len(placements.on_node(connection, UUID(other["id"]))) == 2
        assert len(connection.execute(select(orchestration.reconciliations)).all()) == 2
