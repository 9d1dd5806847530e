"""`bascule lb service-…`: services of a load balancer."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.health_check_options import CheckOptions, check_options_of
from bascule.cli.load_balancers import LoadBalancerArgument, show, show_services
from bascule.cli.output import Output, OutputOption, WaitOption, say
from bascule.cli.session import api, pick, settle
from bascule.model.health_checks import HealthCheckMode
from bascule.model.strategies import Protocol, Strategy

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Name or identifier of the service.")]


_EXAMPLE = """Example: bascule lb service-add web http --port 80 --target-port 8080 --pool front --check http
--check-uri /health --check-option status-codes=200-299 --check-option quorum=2"""


def add_commands(lb_app: typer.Typer) -> None:
    """Services belong to a load balancer, so their commands do too."""
    lb_app.command("service-list")(list_services)
    lb_app.command("service-add", epilog=_EXAMPLE)(add_service)
    lb_app.command("service-delete")(delete_service)


def list_services(
    context: typer.Context, *, load_balancer: LoadBalancerArgument, output: OutputOption = Output.TABLE
) -> None:
    """List the services of a load balancer."""
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
    show_services(output, found)


def add_service(
    context: typer.Context,
    *,
    load_balancer: LoadBalancerArgument,
    name: Annotated[str, typer.Argument(help="The service's name.")],
    port: Annotated[int, typer.Option(help="Port that clients connect to.")],
    pool: Annotated[str, typer.Option(help="Name or identifier of the instance pool.")],
    target_port: Annotated[int | None, typer.Option(help="Port on the instances; the same without it.")] = None,
    protocol: Annotated[Protocol, typer.Option(help="What it carries.")] = Protocol.TCP,
    strategy: Annotated[Strategy, typer.Option(help="How connections are spread.")] = Strategy.MAGLEV_HASH,
    check: Annotated[HealthCheckMode, typer.Option(help="How health is checked.")] = HealthCheckMode.TCP,
    check_port: Annotated[int | None, typer.Option(help="Port that is checked; the target port without it.")] = None,
    check_uri: Annotated[str | None, typer.Option(help="Path to ask for, with http and https.")] = None,
    check_interval: Annotated[int, typer.Option(help="Seconds between checks.")] = 10,
    check_timeout: Annotated[int, typer.Option(help="Seconds an answer may take.")] = 2,
    check_retries: Annotated[int, typer.Option(help="Failures in a row, after the first, until it is unhealthy.")] = 1,
    tls_sni: Annotated[str | None, typer.Option(help="Server name to ask for, with https.")] = None,
    check_option: CheckOptions = None,
    wait: WaitOption = 60,
    output: OutputOption = Output.TABLE,
) -> None:
    """Serve a port from an instance pool."""
    healthcheck = {
        "mode": check.value,
        "port": check_port or target_port or port,
        "interval": check_interval,
        "timeout": check_timeout,
        "retries": check_retries,
        "uri": check_uri,
        "tls-sni": tls_sni,
        **check_options_of(check_option),
    }
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
        operation = client.services.add(
            found.id,
            name=name,
            protocol=protocol,
            port=port,
            target_port=target_port or port,
            instance_pool=pick(client.instance_pools.list_all(), pool, "instance pool").id,
            strategy=strategy,
            healthcheck={field: value for field, value in healthcheck.items() if value is not None},
        )
        settle(client, operation, wait)
        show(output, client.load_balancers.get(found.id))


def delete_service(
    context: typer.Context, *, load_balancer: LoadBalancerArgument, service: ServiceArgument, wait: WaitOption = 60
) -> None:
    """Stop serving a port."""
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
        leaving = pick(found.services, service, "service")
        settle(client, client.services.delete(found.id, leaving.id), wait)
    say(f"Service {leaving.name} of {found.name} is {'deleted' if wait else 'being deleted'}.")
