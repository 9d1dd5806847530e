"""`bascule console`: the pages for operators, served where the command is typed."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

import typer

from bascule.cli.output import say
from bascule.cli.session import admin
from bascule.console.application import create_app
from bascule.system.http_server import serve

TIMEOUT = 5.0  # seconds; a page says sooner than a command that the API does not answer


def console(
    context: typer.Context,
    *,
    listen: Annotated[
        str, typer.Option("--listen", envvar="BASCULE_CONSOLE_LISTEN", help="Address and port for browsers.")
    ] = "127.0.0.1:8090",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A host name that browsers may use for it, beside localhost; repeatable."),
    ] = None,
) -> None:
    """Serve the console until Ctrl-C: jobs and their steps, live, in a browser (for operators).

    It asks the API with your token: whoever can connect sees what you see, and
    can cancel jobs. So it listens on this machine only, unless you say
    otherwise. From another machine: ssh -L 8090:127.0.0.1:8090.
    """

    def ready() -> None:
        if not _is_loopback(listen.rpartition(":")[0]):
            say(
                "Whoever can connect to this address acts with your token: put a proxy that asks who they are in front."
            )
        say(f"The console is at http://{listen}/ (Ctrl-C ends it).")

    with admin(context, timeout=TIMEOUT) as client:
        serve(create_app(client, names=name or ()), listen, ready=ready)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
