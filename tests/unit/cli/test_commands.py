"""Commands against a real API: what users type, and what they read."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import structlog
from typer.testing import CliRunner, Result

from bascule.cli.application import app
from bascule.model.errors import BasculeError, NotFound, Unavailable
from bascule.model.nodes import Silence
from bascule.store import drift_audits, drift_findings, drift_quarantines, lb_nodes
from bascule.store.drift_audits import AuditRow
from tests.conftest import migrated_sqlite
from tests.unit.api.installation import ADMIN_TOKEN, Installation, installation
from tests.unit.api.test_states import carried

Run = Callable[..., Result]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Installation]:
    """A small installation, whose process does not write its log into what a command prints."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with installation(migrated_sqlite(tmp_path)) as made:
            yield made
    finally:
        structlog.reset_defaults()


@pytest.fixture
def run(api: Installation) -> Run:
    """Runs a command as an operator, or as a user without the token."""

    def _run(*words: str, operator: bool = True) -> Result:
        environment = {
            "BASCULE_API_URL": str(api.users.base_url),
            "BASCULE_API_KEY": api.key,
            "BASCULE_API_SECRET": api.secret,
            "BASCULE_ADMIN_TOKEN": ADMIN_TOKEN if operator else "",
        }
        return CliRunner().invoke(app, list(words), env=environment)

    return _run


def done(result: Result) -> str:
    """What a command that worked printed."""
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def test_show_prints_what_ipvsadm_users_expect(api: Installation, run: Run) -> None:
    """A row for each virtual server and one for each backend under each LB node; users see the public part."""
    load_balancer = api.load_balancer()
    api.service(load_balancer, api.pool())
    carried(api, load_balancer)
    text = done(run("lb", "show", "web"))
    assert "lb-1 (xdp): serves, announces (" in text
    assert "Prot LocalAddress:Port Scheduler" in text
    assert "TCP  192.0.2.0:80 wlc [http] 8 packets, 950 bytes" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("  -> 10.")]
    assert row[2:8] == ["Route", "3", "2", "1", "7", "900"]
    whole = json.loads(done(run("lb", "show", "web", "--output", "json")))
    assert whole["name"] == "web"
    assert whole["state"] == "creating"
    assert whole["lb-nodes"][0]["services"][0]["backends"][0]["active-connections"] == 2
    assert "Scheduler" not in done(run("lb", "show", "web", operator=False))
    assert "lb-nodes" not in json.loads(done(run("lb", "show", "web", "-o", "json", operator=False)))


def test_a_service_takes_everything_and_can_be_changed(api: Installation, run: Run) -> None:
    """By the names users know; what is left out of a change stays."""
    api.load_balancer()
    api.pool()
    done(run("node", "set", "lb-1", "--data-plane", "ipvs"))
    add = ("lb", "service-add", "web", "http", "--port", "80", "--pool", "front", "--wait", "0", "-o", "json")
    asked = ("--strategy", "leastconn", "--forwarding-method", "direct", "--persistence", "300/24")
    (service,) = json.loads(done(run(*add, *asked)))["services"]
    assert (service["strategy"], service["forwarding-method"]) == ("wlc", "direct")
    assert service["persistence"] == {"timeout": 300, "prefix-length": 24}
    assert "300 s for each /24" in done(run("lb", "service-list", "web"))
    update = ("lb", "service-update", "web", "http", "--wait", "0", "-o", "json")
    (service,) = json.loads(done(run(*update, "--strategy", "sh", "--no-persistence", "--check-option", "rise=2")))[
        "services"
    ]
    assert (service["strategy"], service["forwarding-method"]) == ("source-hash", "direct")
    assert service["persistence"] is None
    assert service["healthcheck"]["rise"] == 2
    assert isinstance(run(*update).exception, BasculeError)


def test_a_refusal_comes_through_with_its_field(api: Installation, run: Run) -> None:
    """The sentence of the API is the error of the command."""
    api.load_balancer()
    api.pool()
    add = ("lb", "service-add", "web", "http", "--port", "80", "--pool", "front", "--strategy", "wlc")
    error = run(*add).exception
    assert isinstance(error, BasculeError)
    assert (error.field, error.exit_code) == ("strategy", 5)
    assert run(*add[:-1], "random").exit_code == 2
    assert run(*add[:-2], "--persistence", "long").exit_code == 2


def test_operators_register_nodes_instances_and_ranges_of_both_families(api: Installation, run: Run) -> None:
    """Data planes, methods and IPv6, each shown as it was given."""
    api.pool()
    node = ("node", "create", "lb-2", "--agent-url", "http://192.0.2.9:1", "--agent-token", "a-token-of-an-agent")
    assert json.loads(done(run(*node, "--data-plane", "keepalived", "-o", "json")))["data-plane"] == "keepalived"
    assert "keepalived" in done(run("node", "list"))
    member = ("pool", "add", "front", "six", "--address", "2001:db8:1::1", "--hypervisor", "hv-1")
    pool = json.loads(done(run(*member, "--forwarding-method", "direct", "-o", "json")))
    assert (pool["instances"][1]["address"], pool["instances"][1]["forwarding-method"]) == ("2001:db8:1::1", "direct")
    pool = json.loads(done(run("pool", "set", "front", "six", "--forwarding-method", "as-service", "-o", "json")))
    assert pool["instances"][1]["forwarding-method"] is None
    done(run("address-pool", "create", "six", "2001:db8::/64"))
    held = json.loads(done(run("ip", "create", "--family", "inet6", "-o", "json")))
    assert held["ip"] == "2001:db8::"
    done(run("ip", "delete", "2001:DB8:0::0"))


def test_operators_ask_for_reconciliations(api: Installation, run: Run) -> None:
    """One, a selection by labels, or all; exactly one of the three ways."""
    api.load_balancer(name="one", labels={"stage": "test"})
    api.load_balancer(name="two")
    for words, count in ((("one",), 1), (("--label", "stage=test", "--priority", "periodic"), 1), (("--all",), 2)):
        assert f"{count} reconciliations are asked for" in run("lb", "reconcile", *words).output
    assert run("lb", "reconcile").exit_code == 2
    assert run("lb", "reconcile", "one", "--all").exit_code == 2


def test_operators_see_drift(api: Installation, run: Run) -> None:
    """What lasts, and the history when it is asked for."""
    fields = {"kind": "foreign", "node": "hv-1", "words": "was never here"}
    fields |= dict.fromkeys(("node_id", "load_balancer_id"), "00000000-0000-4000-8000-000000000001")
    with api.database.write() as connection:
        drift_findings.add(connection, {"a": fields}, now=10.0)
    assert "was never here" in done(run("drift", "list"))
    with api.database.write() as connection:
        drift_findings.resolve(connection, ["a"], now=20.0)
    assert json.loads(done(run("drift", "list", "-o", "json"))) == []
    assert "was never here" in done(run("drift", "list", "--history"))


@contextmanager
def auditing(api: Installation) -> Iterator[None]:
    """An orchestrator that ends the next audit asked for: lb-1 answers and lacks something, hv-1 is silent."""

    def end() -> None:
        while (asked := _waiting(api)) is None:
            time.sleep(0.01)
        at = time.time() + 1
        node = UUID(api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"][0]["id"])
        fields = {"kind": "missing", "node_id": str(node), "node": "lb-1", "words": "its announcement"}
        with api.database.write() as connection:
            drift_findings.add(connection, {"key": {**fields, "load_balancer_id": str(uuid4())}}, now=at)
            ended = replace(asked, ended_at=at, answered=("lb-1",), silent=("hv-1",), unsettled=2)
            drift_audits.end(connection, ended)

    thread = threading.Thread(target=end)
    thread.start()
    yield
    thread.join()


def _waiting(api: Installation) -> AuditRow | None:
    with api.database.read() as connection:
        return drift_audits.waiting(connection, now=time.time())


def test_an_audit_shows_what_it_found_and_what_it_left_out(api: Installation, run: Run) -> None:
    """Differences are no failure of the command; programs read the whole audit."""
    with auditing(api):
        result = run("drift", "audit")
    assert "its announcement" in done(result)
    assert "does not answer: hv-1" in result.stderr
    assert "2 load balancers" in result.stderr


def test_an_audit_as_json(api: Installation, run: Run) -> None:
    """Of one node, which must be known."""
    with auditing(api):
        told = json.loads(done(run("drift", "audit", "--node", "lb-1", "--output", "json")))
    assert (told["answered"], told["silent"], told["unsettled"]) == (["lb-1"], ["hv-1"], 2)
    assert [finding["what"] for finding in told["findings"]] == ["its announcement"]
    unknown = run("drift", "audit", "--node", "nobody")
    assert isinstance(unknown.exception, NotFound)


def test_an_audit_that_nobody_does_is_said(run: Run) -> None:
    """Without an orchestrator the command does not wait for ever."""
    result = run("drift", "audit", "--wait", "1")
    assert isinstance(result.exception, Unavailable)


def test_quarantines_are_listed_and_released(api: Installation, run: Run) -> None:
    """By the identifier that the list shows."""
    row = drift_quarantines.new(uuid4(), "hv-1", uuid4(), "missing came back 3 times", now=7.0)
    with api.database.write() as connection:
        drift_quarantines.add(connection, [row])
    text = done(run("drift", "quarantines"))
    assert "missing came back 3 times" in text
    assert str(row.id) in text
    assert "released-at" in done(run("drift", "release", str(row.id)))
    assert "Nothing is quarantined" in run("drift", "quarantines").stderr


def test_plan_shows_what_a_command_would_do_and_does_nothing(api: Installation, run: Run) -> None:
    """Any command that changes something, with its own options; one that only reads has nothing to plan."""
    load_balancer = api.load_balancer()
    api.service(load_balancer, api.pool(members=4))
    carried(api, load_balancer)
    before = api.rows()
    text = done(run("plan", "pool", "scale", "front", "3", "--wait", "0"))
    assert "serve 1 services on lb-1 [step]" in text
    assert "touches hv-1, lb-1" in text
    assert "of the open ones break" in text
    plans = json.loads(done(run("plan", "lb", "delete", "web", "-o", "json")))
    assert [each["name"] for each in plans["load-balancers"]] == ["web"]
    assert done(run("plan", "node", "list")) != ""
    assert api.rows() == before
    refused = run("plan", "pool", "scale", "front", "3", operator=False)
    assert isinstance(refused.exception, BasculeError)


def test_where_a_load_balancer_shall_be(api: Installation, run: Run) -> None:
    """Labels of nodes, nodes, affinity and group by the names users know, and given up again."""
    api.load_balancer()
    node = json.loads(
        done(run("node", "set", "lb-1", "--label", "net=10g", "--failure-domain", "rack-1", "-o", "json"))
    )
    assert (node["labels"], node["failure-domain"]) == ({"net": "10g"}, "rack-1")
    update = ("lb", "update", "web", "--wait", "0", "-o", "json")
    asked = ("--nodes", "3", "--affinity", "net=10g", "--anti-affinity", "shop")
    shown = json.loads(done(run(*update, *asked)))
    assert (shown["node-count"], shown["affinity"], shown["anti-affinity"]) == (3, {"net": "10g"}, "shop")
    shown = json.loads(done(run(*update, "--nodes", "2", "--no-affinity", "--anti-affinity", "")))
    assert (shown["node-count"], shown["affinity"], shown["anti-affinity"]) == (None, None, None)
    assert run(*update, "--affinity", "net=10g", "--no-affinity").exit_code == 2
    assert json.loads(done(run("node", "set", "lb-1", "--no-labels", "-o", "json")))["labels"] == {}


def test_silent_nodes_are_listed_with_what_becomes_of_them(api: Installation, run: Run) -> None:
    """Columns that only silent nodes need, and a sentence when too many are; a rebalance says what it did."""
    assert "SILENT" not in done(run("node", "list"))
    node = UUID(api.operators.get("/admin/v1/lb-nodes").json()["lb-nodes"][0]["id"])
    with api.database.write() as connection:
        lb_nodes.set_silence(connection, node, 0.0, Silence.HELD)
    listed = run("node", "list")
    assert "1970-01-01" in done(listed)
    assert "none is replaced" in listed.output
    assert "0 load balancers move" in run("node", "rebalance").output
