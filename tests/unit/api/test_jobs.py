"""Jobs through the operators' API and the command line."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from uuid import UUID, uuid4

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bascule.cli import jobs as job_commands
from bascule.cli.job_tree import tree
from bascule.cli.jobs import job_app
from bascule.cli.session import Session
from bascule.client.clients import AdminClient
from bascule.model.errors import Conflict, NotFound
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.jobs import Sequence, Step
from bascule.orchestration.journal import Journal
from bascule.orchestration.queue import Priority, Queue
from bascule.store.tables import orchestration
from bascule.wire.admin_v1_work import JobStepView, JobTreeView
from tests.unit.api.installation import ADMIN_TOKEN, Installation
from tests.unit.orchestration.application import Say

ENTITY = Entity("load-balancer", str(uuid4()))
CLAIM = Claim(entity=ENTITY, holder="one", epoch=1, requested=1, attempts=0, lease_until=9e9, reasons=())
JOB = Sequence("greet", (Step(Say("hello")), Step(Say("bye"))))


def begun(api: Installation, epoch: int = 1) -> Journal:
    """A job whose first step is done and whose second runs."""
    journal = Journal(orchestration, api.database.write, replace(CLAIM, epoch=epoch), "be polite")
    journal.begin(JOB, 100.0 + epoch)
    for path in ((1,), (1, 1), (1, 2)):
        journal.started(path, 101.0 + epoch)
    journal.ended((1, 1), 102.5 + epoch, output={"said": "hello"})
    return journal


def command_line(api: Installation, *words: str) -> tuple[int, str]:
    """Exit code and standard output of `bascule job`."""
    root = typer.Typer()
    root.add_typer(job_app, name="job")

    @root.callback()
    def connect(context: typer.Context) -> None:
        context.obj = Session(url=str(api.operators.base_url), key=None, secret=None, admin_token=ADMIN_TOKEN)

    result = CliRunner().invoke(root, ["job", *words])
    return result.exit_code, result.stdout


def test_a_running_job_shows_each_steps_input_output_and_times(api: Installation) -> None:
    """The tree of a job that runs tells what each step was given and answered so far."""
    journal = begun(api)
    shown = api.operators.get(f"/admin/v1/jobs/{journal.job_id}").json()
    assert (shown["state"], shown["cancel-requested-at"]) == ("running", None)
    root, hello, bye = shown["steps"]
    assert (root["input"], root["output"]) == (None, None)
    assert (hello["input"], hello["output"]) == ({"title": "hello", "fails": False}, {"said": "hello"})
    assert (hello["state"], bye["state"], bye["output"]) == ("success", "running", None)
    assert hello["ended-at"] > hello["started-at"]


def test_a_job_tells_whose_it_is_and_why_it_ran(api: Installation) -> None:
    """The name while the load balancer exists, priority and reasons until a later request of the same one is newer."""
    web, queue = api.load_balancer(name="web"), Queue(orchestration)
    with api.database.write() as connection:
        claim = queue.claim(connection, holder="one", now=time.time(), lease=60)
    assert claim is not None
    journal = Journal(orchestration, api.database.write, claim, "be polite")
    journal.begin(JOB, 100.0)

    def why() -> tuple[object, ...]:
        (shown,) = api.operators.get("/admin/v1/jobs", params={"entity": web}).json()["jobs"]
        one = api.operators.get(f"/admin/v1/jobs/{journal.job_id}").json()
        assert {name: one[name] for name in shown} == shown
        return shown["entity-name"], shown["priority"], shown["reasons"]

    assert why() == ("web", 0, ["create-load-balancer"])
    journal.end(101.0)
    with api.database.write() as connection:
        queue.claims.complete(connection, claim)
    assert why() == ("web", 0, ["create-load-balancer"])
    with api.database.write() as connection:
        queue.request(connection, claim.entity, priority=Priority.EVENT, reason="moved", now=200.0)
    assert why() == ("web", None, None)
    begun(api)
    (other,) = api.operators.get("/admin/v1/jobs", params={"entity": ENTITY.id}).json()["jobs"]
    assert (other["entity-name"], other["priority"], other["reasons"]) == (None, None, None)


def test_only_a_running_job_can_be_cancelled(api: Installation) -> None:
    """Asked twice it keeps the first time; one that ended is 409, one that never was 404."""
    journal = begun(api)
    with AdminClient(str(api.operators.base_url), ADMIN_TOKEN) as client:
        first = client.jobs.cancel(UUID(journal.job_id)).cancel_requested_at
        assert first is not None
        assert client.jobs.cancel(UUID(journal.job_id)).cancel_requested_at == first
        journal.end(200.0)
        with pytest.raises(Conflict, match=r"has ended \(success\)"):
            client.jobs.cancel(UUID(journal.job_id))
        with pytest.raises(NotFound):
            client.jobs.cancel(uuid4())


def test_watch_ends_with_the_job_and_fails_when_it_failed(api: Installation) -> None:
    """Without a name the newest job is watched; the exit code is the job's."""
    begun(api).end(200.0)
    code, drawn = command_line(api, "watch", "--entity", ENTITY.id)
    assert code == 0
    assert "success  hello  1.50 s" in drawn
    failed = begun(api, epoch=2)
    failed.failed((1, 2), 201.0, "No voice.")
    failed.end(201.0, "No voice.")
    code, lines = command_line(api, "watch", "--output", "json")
    assert code == 1
    *steps, job = [json.loads(line) for line in lines.splitlines()]
    assert [(step["path"], step["state"]) for step in steps] == [
        ("1", "running"),
        ("1.1", "success"),
        ("1.2", "failure"),
    ]
    assert (job["state"], job["error"], "steps" in job) == ("failure", "No voice.", False)


def look(state: str, *states: str) -> JobTreeView:
    """A job and its steps, as the API tells of them at some moment."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    common = {"started_at": now, "ended_at": None if state == "running" else now, "error": ""}
    steps = [
        JobStepView(path=f"{n}", node="step", title=f"step {n}", state=one, input=None, output=None, **common)
        for n, one in enumerate(states, start=1)
    ]
    named = {"id": UUID(int=1), "kind": "thing", "entity_id": "one", "epoch": 1, "event": "x", "state": state}
    return JobTreeView(**named, **common, cancel_requested_at=None, steps=steps)


def test_the_stream_has_a_line_for_every_change(capsys: pytest.CaptureFixture[str]) -> None:
    """A step is told when it first shows and whenever it changes, the job once at its end."""
    looks = [
        look("running", "running", "waiting"),
        look("running", "success", "running"),
        look("running", "success", "running"),
    ]
    last = job_commands._stream(iter([*looks, look("success", "success", "success")]))
    assert last.state == "success"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines.pop()["state"] == "success"
    told = [(line["path"], line["state"]) for line in lines]
    assert told[:4] == [("1", "running"), ("2", "waiting"), ("1", "success"), ("2", "running")]


def test_the_live_tree_ends_at_the_last_look(capsys: pytest.CaptureFixture[str]) -> None:
    """What stays on the terminal is the tree as it was at the end."""
    last = job_commands._live(iter([look("running", "running"), look("failure", "failure")]))
    assert last.state == "failure"
    assert "failure  step 1" in capsys.readouterr().out


def drawn(job: JobTreeView, lines: int | None = None) -> list[str]:
    """What `bascule job show` prints, without colours."""
    screen = Console(width=80, record=True, file=StringIO())
    screen.print(tree(job, lines=lines))
    return screen.export_text().splitlines()


def big(*parts: tuple[str, str, int, str]) -> JobTreeView:
    """A job of parts with a state, an error and so many steps each; the last of them has the error."""
    job = look("failure" if any(error for *_, error in parts) else "running")
    common = {"input": None, "output": None, "started_at": None, "ended_at": None}
    failed = next((error for *_, error in parts if error), "")
    steps = [JobStepView(path="1", node="sequence", title="all", state=job.state, error=failed, **common)]
    for part, (title, state, size, error) in enumerate(parts, start=1):
        path = f"1.{part}"
        steps.append(JobStepView(path=path, node="parallel", title=title, state=state, error=error, **common))
        for n in range(1, size + 1):
            what = error if n == size else ""
            one = JobStepView(path=f"{path}.{n}", node="step", title=f"{n}", state=state, error=what, **common)
            steps.append(one)
    return job.model_copy(update={"steps": steps, "error": failed})


def test_a_tree_higher_than_the_terminal_shows_what_runs() -> None:
    """What ended well or waits is folded; without a limit nothing is."""
    job = big(("prepare", "success", 40, ""), ("serve", "running", 2, ""), ("tidy", "waiting", 40, ""))
    assert drawn(job, lines=24)[2:] == [
        "├── success  prepare (side by side) (40 steps)",
        "├── running  serve (side by side)",
        "│   ├── running  1",
        "│   └── running  2",
        "└── waiting  tidy (side by side) (40 steps)",
    ]
    assert len(drawn(job)) == 2 + 3 + 82


def test_an_error_is_told_where_it_began() -> None:
    """Not again at everything that failed because of it; what was never reached did not run."""
    lines = drawn(big(("serve", "failure", 2, "lb2 does not answer."), ("tidy", "waiting", 1, "")))
    assert lines[2:] == [
        "├── failure  serve (side by side)",
        "│   ├── failure  1",
        "│   └── failure  2",
        "│       lb2 does not answer.",
        "└── not run  tidy (side by side)",
        "    └── not run  1",
    ]
