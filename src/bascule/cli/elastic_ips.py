"""`bascule ip`: elastic IPs, addresses to keep while load balancers come and go."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.output import Output, OutputOption, say, show_list, show_one
from bascule.cli.parsers import AddressOption, FamilyOption, address_of
from bascule.cli.session import api
from bascule.model.errors import NotFound

ip_app = typer.Typer(no_args_is_help=True, help="Elastic IPs: addresses to keep while load balancers come and go.")


@ip_app.command("list")
def list_elastic_ips(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List elastic IPs."""
    with api(context) as client:
        found = client.elastic_ips.list_all()
    columns = {"ADDRESS": "ip", "DESCRIPTION": "description", "ID": "id"}
    show_list(output, found, columns, empty="No elastic IP yet: create one with 'bascule ip create'.")


@ip_app.command("create", epilog="Example: bascule ip create; then bascule lb create web --ip ADDRESS")
def create_elastic_ip(
    context: typer.Context,
    *,
    ip: AddressOption = None,
    family: FamilyOption = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hold an address."""
    with api(context) as client:
        operation = client.elastic_ips.create(ip=ip, description=description, addressfamily=family)
        show_one(output, client.elastic_ips.get(operation.reference.id))


@ip_app.command("delete")
def delete_elastic_ip(context: typer.Context, ip: Annotated[str, typer.Argument(help="The address.")]) -> None:
    """Let go of an address that nothing uses."""
    address = address_of(ip)
    with api(context) as client:
        found = next((one for one in client.elastic_ips.list_all() if one.ip == address), None)
        if found is None:
            raise NotFound(f"There is no elastic IP {address}: list them to find the one you mean.")
        client.elastic_ips.delete(found.id)
    say(f"Elastic IP {address} is free again.")
