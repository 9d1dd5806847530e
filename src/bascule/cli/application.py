"""`bascule`: the command line, put together from the nouns."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from bascule.cli import drains, services
from bascule.cli.address_pools import address_pool_app
from bascule.cli.api_keys import api_key_app
from bascule.cli.drains import instance_app
from bascule.cli.drift import drift_app
from bascule.cli.elastic_ips import ip_app
from bascule.cli.hypervisors import hypervisor_app
from bascule.cli.instance_pools import pool_app
from bascule.cli.jobs import job_app, list_queue
from bascule.cli.lb_nodes import node_app
from bascule.cli.load_balancers import lb_app
from bascule.cli.operations import operation_app
from bascule.cli.plans import PLAN_CONTEXT, PLAN_EPILOG, plan
from bascule.cli.session import Session

_EPILOG = """Example: export BASCULE_API_URL=http://127.0.0.1:8080 BASCULE_API_KEY=EXO… BASCULE_API_SECRET=…, then
bascule lb create web, bascule lb service-add web http --port 80 --pool front, bascule lb show web.

Exit codes: 0 done; 2 the input is wrong; 3 the key or token is; 4 no such object; 5 the present state forbids it;
6 the API does not answer, or not in time; 7 the change failed."""

app = typer.Typer(
    name="bascule",
    help="A load balancer as a service: manage load balancers, and the machines that carry them.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
services.add_commands(lb_app)
drains.add_commands()
for _name, _noun in (
    ("lb", lb_app),
    ("pool", pool_app),
    ("instance", instance_app),
    ("ip", ip_app),
    ("operation", operation_app),
    ("node", node_app),
    ("hypervisor", hypervisor_app),
    ("address-pool", address_pool_app),
    ("api-key", api_key_app),
    ("job", job_app),
    ("drift", drift_app),
):
    app.add_typer(_noun, name=_name)
app.command("queue")(list_queue)
app.command("plan", context_settings=PLAN_CONTEXT, epilog=PLAN_EPILOG)(plan)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("bascule"))
        raise typer.Exit


@app.callback()
def connect(
    context: typer.Context,
    url: Annotated[
        str, typer.Option("--url", envvar="BASCULE_API_URL", help="Where the API answers.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[str | None, typer.Option("--key", envvar="BASCULE_API_KEY", help="API key.")] = None,
    secret: Annotated[
        str | None,
        typer.Option("--secret", envvar="BASCULE_API_SECRET", help="The key's secret; better in the environment."),
    ] = None,
    admin_token: Annotated[
        str | None,
        typer.Option("--admin-token", envvar="BASCULE_ADMIN_TOKEN", help="Operators' token; as above."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Remember who asks, for the command that follows."""
    context.obj = Session(url=url, key=key, secret=secret, admin_token=admin_token)
