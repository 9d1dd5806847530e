"""`bascule job` and `bascule queue`: what the orchestrator did, does and will do (for operators)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

import typer
from rich.live import Live

from bascule.cli.job_tree import tree
from bascule.cli.output import Output, OutputOption, console, print_line, say, show_list, show_one
from bascule.cli.session import admin
from bascule.client.clients import AdminClient
from bascule.model.errors import NotFound
from bascule.wire.admin_v1_work import JobStepView, JobTreeView

job_app = typer.Typer(no_args_is_help=True, help="Jobs: what the orchestrator did and does (for operators).")
_LOOK_EVERY = 0.3  # seconds


@job_app.command("list", epilog="Example: bascule job list --entity 9d63dc6d-88dc-481d-a7ba-cfe0852cefc6")
def list_jobs(
    context: typer.Context,
    *,
    entity: Annotated[UUID | None, typer.Option(help="Only of this load balancer (identifier).")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, the newest first."""
    with admin(context) as client:
        found = client.jobs.list_all(entity=entity, limit=limit)
    columns = {
        "STARTED": "started_at",
        "STATE": "state",
        "EVENT": "event",
        "LOAD BALANCER": "entity_name",
        "ERROR": "error",
        "ID": "id",
    }
    show_list(output, found, columns, empty="No job has run yet: is the orchestrator running?")


@job_app.command("show")
def show_job(
    context: typer.Context,
    *,
    job: Annotated[UUID, typer.Argument(help="Identifier of the job.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one job as a tree of steps."""
    with admin(context) as client:
        found = client.jobs.get(job)
    if output is Output.JSON:
        show_one(output, found)
    else:
        console().print(tree(found))


@job_app.command("watch", epilog="Example: bascule job watch --entity 9d63dc6d-88dc-481d-a7ba-cfe0852cefc6")
def watch_job(
    context: typer.Context,
    *,
    job: Annotated[UUID | None, typer.Argument(help="Identifier of the job; the newest one without it.")] = None,
    entity: Annotated[UUID | None, typer.Option(help="The newest job of this load balancer (identifier).")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch a job as it runs, until it ends; fails when the job does. JSON: a line for every node that changes."""
    with admin(context) as client:
        looks = _looks(client, job or _newest(client, entity))
        last = _stream(looks) if output is Output.JSON else _live(looks)
    if last.state != "success":
        raise typer.Exit(1)


@job_app.command("cancel")
def cancel_job(context: typer.Context, *, job: Annotated[UUID, typer.Argument(help="Identifier of the job.")]) -> None:
    """Have a running job end. Its load balancer is tried again a minute later, or when something changes."""
    with admin(context) as client:
        cancelled = client.jobs.cancel(job)
    say(f"Asked job {cancelled.id} to end: its worker hears of it within seconds.")


def _newest(client: AdminClient, entity: UUID | None) -> UUID:
    found = client.jobs.list_all(entity=entity, limit=1)
    if not found:
        raise NotFound("There is no job yet: change something, or look whether the orchestrator runs.")
    return found[0].id


def _looks(client: AdminClient, job: UUID) -> Iterator[JobTreeView]:
    """The job again and again; the last look is at its end."""
    while True:
        found = client.jobs.get(job)
        yield found
        if found.ended_at is not None:
            return
        time.sleep(_LOOK_EVERY)


def _live(looks: Iterator[JobTreeView]) -> JobTreeView:
    """While it runs the tree is as high as the terminal at most; what stays at the end is all of it."""
    screen, found = console(), next(looks)
    with Live(tree(found, lines=screen.height), console=screen, auto_refresh=False) as live:
        for found in looks:
            live.update(tree(found, lines=screen.height), refresh=True)
        live.update(tree(found), refresh=True)
    return found


def _stream(looks: Iterator[JobTreeView]) -> JobTreeView:
    told: dict[str, JobStepView] = {}
    for found in looks:
        for step in found.steps:
            if told.get(step.path) != step:
                print_line(step)
                told[step.path] = step
    print_line(found, without={"steps"})
    return found


def list_queue(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List what waits for the orchestrator, the next to run first (for operators)."""
    columns = {
        "ENTITY": "id",
        "WAITS": "waiting",
        "DUE": "due_at",
        "ATTEMPTS": "attempts",
        "HOLDER": "lease_holder",
        "REASONS": "reasons",
        "LAST ERROR": "last_error",
    }
    with admin(context) as client:
        show_list(output, client.jobs.queue(), columns, empty="Nothing has ever been queued.")
