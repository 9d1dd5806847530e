"""`drain` and `undrain` of every noun against a real API."""

from __future__ import annotations

import json
import threading
import time

import pytest

from bascule.model.errors import BasculeError
from tests.unit.api.installation import Installation
from tests.unit.cli.test_commands import Run, api, done, run

__all__ = ["api", "run"]  # pytest finds the fixtures here


@pytest.fixture
def served(api: Installation) -> str:
    """A pool of two instances that a service uses."""
    pool = api.pool(members=2)
    api.service(api.load_balancer(), pool)
    return pool


@pytest.mark.usefixtures("served")
def test_an_instance_drains_for_as_long_as_one_says(run: Run) -> None:
    """Durations have units; what drains is listed with its time, until it is undone."""
    assert "10:00 at most" in done(run("instance", "drain", "web-0", "--deadline", "10m"))
    (found,) = json.loads(done(run("instance", "list", "-o", "json")))["instances"]
    assert (found["name"], found["pool-name"], found["remaining"]) == ("web-0", "front", [])
    assert "web-0" in done(run("instance", "list"))
    done(run("instance", "undrain", "web-0"))
    assert done(run("instance", "list")) == ""
    assert run("instance", "drain", "web-0", "--deadline", "long").exit_code == 2


@pytest.mark.usefixtures("served")
def test_every_noun_drains_by_the_same_verb(run: Run) -> None:
    """A pool, a hypervisor and an LB node; each can be undone."""
    for noun, name, count in (("pool", "front", 2), ("hypervisor", "hv-1", 2), ("node", "lb-1", 1)):
        found = json.loads(done(run(noun, "drain", name, "--deadline", "0", "-o", "json")))
        assert len(found["instances"]) + len(found["lb-nodes"]) == count
        done(run(noun, "undrain", name))
    assert "yes" in done(run("node", "list"))
    assert all(each["active"] for each in json.loads(done(run("pool", "show", "front", "-o", "json")))["instances"])


def test_who_waits_sees_the_end(api: Installation, run: Run, served: str) -> None:
    """The command follows the drain, line by line for programs, and ends with it."""
    member = api.operators.get(f"/admin/v1/instance-pools/{served}").json()["instances"][0]["id"]
    path = f"/admin/v1/instance-pools/{served}/instances/{member}:undrain"

    def undo() -> None:
        while not api.operators.get("/admin/v1/drains").json()["instances"]:
            time.sleep(0.01)
        api.operators.put(path, json={})

    for output in ("json", "table"):
        somebody = threading.Thread(target=undo)
        somebody.start()
        text = done(run("instance", "drain", "web-0", "--wait", "-o", output))
        somebody.join()
        if output == "json":
            lines = [json.loads(line) for line in text.splitlines()]
            assert [len(line["instances"]) for line in lines] == [1, 0]


def test_who_is_meant_must_be_clear(api: Installation, run: Run) -> None:
    """Names of instances are not unique: the refusal names the identifiers."""
    api.pool()
    api.pool()
    error = run("instance", "drain", "web-0").exception
    assert isinstance(error, BasculeError)
    assert "give the identifier" in error.sentence
    assert isinstance(run("instance", "drain", "nobody").exception, BasculeError)
