"""`bascule drift`: where nodes differ from the expected state (for operators)."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.output import Output, OutputOption, show_list
from bascule.cli.session import admin

drift_app = typer.Typer(no_args_is_help=True, help="Drift: where nodes differ from the expected state (for operators).")


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
    columns = {
        "KIND": "kind",
        "NODE": "node",
        "LOAD BALANCER": "load_balancer",
        "WHAT": "what",
        "SINCE": "first_seen",
        "SEEN": "last_seen",
        "OVER": "resolved_at",
    }
    with admin(context) as client:
        found = client.drift.list_all(resolved=history, limit=limit)
    show_list(output, found, columns, empty="No node that answers differs from the expected state.")
