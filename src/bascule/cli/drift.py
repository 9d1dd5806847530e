"""`bascule drift`: where nodes differ from the expected state (for operators)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from bascule.cli.output import Output, OutputOption, json_of, print_json, say, show_list, show_one
from bascule.cli.session import admin
from bascule.wire.admin_v1_work import DriftAuditView

drift_app = typer.Typer(no_args_is_help=True, help="Drift: where nodes differ from the expected state (for operators).")


_COLUMNS = {
    "KIND": "kind",
    "NODE": "node",
    "LOAD BALANCER": "load_balancer",
    "WHAT": "what",
    "SINCE": "first_seen",
    "SEEN": "last_seen",
    "OVER": "resolved_at",
    "QUARANTINED": "quarantined_since",
}


@drift_app.callback()
def drift() -> None:
    """Where nodes differ from the expected state (for operators)."""


@drift_app.command("list", epilog="Example: bascule drift list --history")
def list_drift(
    context: typer.Context,
    *,
    history: Annotated[bool, typer.Option("--history", help="Also what is over.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """List differences, the newest first: missing, extra, stale-epoch; foreign ones are left alone."""
    with admin(context) as client:
        found = client.drift.list_all(resolved=history, limit=limit)
    show_list(output, found, _COLUMNS, empty="No node that answers differs from the expected state.")


@drift_app.command("audit", epilog="Example: bascule drift audit --node hv-7")
def audit(
    context: typer.Context,
    *,
    node: Annotated[str | None, typer.Option(help="Only this LB node or hypervisor, by name or identifier.")] = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for an orchestrator.", metavar="S")] = 60.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask every agent now, compare what it has with the expected state, and list the differences."""
    with admin(context) as client, Console(stderr=True).status("Asking the agents…"):
        found = client.drift.wait(client.drift.audit(node).id, wait)
    if output is Output.JSON:
        print_json(json_of(found))
        return
    show_list(output, found.findings, _COLUMNS, empty=_nothing(found))
    for sentence in _left_out(found):
        say(sentence)


@drift_app.command("quarantines")
def list_quarantines(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List load balancers on nodes where reconciling does not mend what differs: drift asks for it no more."""
    columns = {
        "NODE": "node",
        "LOAD BALANCER": "load_balancer",
        "WHY": "reason",
        "SINCE": "since",
        "ID": "id",
    }
    with admin(context) as client:
        found = client.drift.quarantines()
    show_list(output, found, columns, empty="Nothing is quarantined.")


@drift_app.command("release", epilog="Example: bascule drift release 7d0c…")
def release(
    context: typer.Context,
    quarantine: Annotated[UUID, typer.Argument(help="Its identifier, as `bascule drift quarantines` shows it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """End a quarantine, once its cause is mended: the load balancer is reconciled, and drift may ask again."""
    with admin(context) as client:
        show_one(output, client.drift.release(quarantine))


def _nothing(audited: DriftAuditView) -> str:
    names = ", ".join(audited.answered)
    return f"No difference on {names}." if names else "No agent answered."


def _left_out(audited: DriftAuditView) -> Iterator[str]:
    """What the list does not tell."""
    if audited.silent:
        yield f"Not judged, because the agent does not answer: {', '.join(audited.silent)}."
    if audited.unsettled:
        yield f"Not judged, because they are being changed: {audited.unsettled} load balancers. Ask again in a moment."
