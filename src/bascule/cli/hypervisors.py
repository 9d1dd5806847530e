"""`bascule hypervisor`: the hosts that carry instances (for operators)."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.lb_nodes import TokenOption
from bascule.cli.output import Output, OutputOption, say, show_list, show_one
from bascule.cli.session import admin, pick

hypervisor_app = typer.Typer(no_args_is_help=True, help="Hypervisors: hosts that carry instances (for operators).")


@hypervisor_app.command("list")
def list_hypervisors(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List hypervisors."""
    with admin(context) as client:
        found = client.hypervisors.list_all()
    columns = {"NAME": "name", "AGENT": "agent_url", "ID": "id"}
    show_list(output, found, columns, empty="No hypervisor yet: register one with 'bascule hypervisor create NAME'.")


@hypervisor_app.command(
    "create", epilog="Example: BASCULE_AGENT_TOKEN=… bascule hypervisor create hv-1 --agent-url http://192.0.2.20:7702"
)
def create_hypervisor(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    agent_url: Annotated[str, typer.Option(help="Where its agent answers.")],
    agent_token: TokenOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a hypervisor."""
    with admin(context) as client:
        show_one(output, client.hypervisors.create(name=name, agent_url=agent_url, agent_token=agent_token))


@hypervisor_app.command("delete")
def delete_hypervisor(
    context: typer.Context,
    *,
    hypervisor: Annotated[str, typer.Argument(help="Name or identifier of the hypervisor.")],
) -> None:
    """Forget a hypervisor that carries no instance."""
    with admin(context) as client:
        found = pick(client.hypervisors.list_all(), hypervisor, "hypervisor")
        client.hypervisors.delete(found.id)
    say(f"Hypervisor {found.name} is forgotten.")
