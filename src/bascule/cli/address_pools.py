"""`bascule address-pool`: the ranges that addresses are taken from (for operators)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bascule.cli.output import Output, OutputOption, say, show_list, show_one
from bascule.cli.parsers import network_of
from bascule.cli.session import admin, pick

address_pool_app = typer.Typer(no_args_is_help=True, help="Ranges that addresses are taken from (for operators).")


@address_pool_app.command("list")
def list_address_pools(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List address pools."""
    with admin(context) as client:
        found = client.address_pools.list_all()
    columns = {"NAME": "name", "NETWORK": "network", "TAKEN": "taken", "ID": "id"}
    show_list(output, found, columns, empty="No address pool yet: 'bascule address-pool create NAME NETWORK'.")


@address_pool_app.command("create", epilog="Example: bascule address-pool create public 192.0.2.0/24")
def create_address_pool(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    network: Annotated[
        Any,
        typer.Argument(help="Its range; every address of it can be given away.", parser=network_of, metavar="NETWORK"),
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a range."""
    with admin(context) as client:
        show_one(output, client.address_pools.create(name=name, network=network))


@address_pool_app.command("delete")
def delete_address_pool(
    context: typer.Context, *, pool: Annotated[str, typer.Argument(help="Name or identifier of the address pool.")]
) -> None:
    """Forget a range of which no address is in use."""
    with admin(context) as client:
        found = pick(client.address_pools.list_all(), pool, "address pool")
        client.address_pools.delete(found.id)
    say(f"Address pool {found.name} is forgotten.")
