"""`bascule lb service-…`: services of a load balancer."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.health_check_options import CheckOptions, check_options_of
from bascule.cli.load_balancers import LoadBalancerArgument, show, show_services
from bascule.cli.output import Output, OutputOption, WaitOption, say
from bascule.cli.parsers import Method, persistence_of, strategy_of
from bascule.cli.session import api, pick, settle
from bascule.model.errors import InvalidInput
from bascule.model.health_checks import HealthCheckMode
from bascule.model.strategies import Protocol, Strategy

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Name or identifier of the service.")]


_STRATEGY = typer.Option(
    parser=strategy_of,
    metavar="STRATEGY",
    help="How connections are spread: maglev-hash, round-robin or source-hash; with ipvs and keepalived also rr, lc,"
    " wlc, lblc, lblcr, dh, sed, nq. Other names that users know are understood (wrr, sh, mh, leastconn).",
)
_METHOD = typer.Option(help="How packets get to the instances.")
_PERSISTENCE = typer.Option(
    parser=persistence_of,
    metavar="SECONDS[/PREFIX]",
    help="Keep a client on its instance; with a prefix length, all clients of one network.",
)

_EXAMPLE = """Example: bascule lb service-add web http --port 80 --target-port 8080 --pool front --check http
--check-uri /health --check-option status-codes=200-299 --check-option quorum=2"""


def add_commands(lb_app: typer.Typer) -> None:
    """Services belong to a load balancer, so their commands do too."""
    lb_app.command("service-list")(list_services)
    lb_app.command("service-add", epilog=_EXAMPLE)(add_service)
    lb_app.command("service-update", epilog="Example: bascule lb service-update web http --strategy wlc")(
        update_service
    )
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
    strategy: Annotated[Strategy, _STRATEGY] = Strategy.MAGLEV_HASH,
    forwarding_method: Annotated[Method, _METHOD] = Method.TUNNEL,
    persistence: Annotated[dict[str, int] | None, _PERSISTENCE] = None,
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
            forwarding_method=None if forwarding_method is Method.TUNNEL else forwarding_method.value,
            persistence=persistence,
            healthcheck={field: value for field, value in healthcheck.items() if value is not None},
        )
        settle(client, operation, wait)
        show(output, client.load_balancers.get(found.id))


def update_service(
    context: typer.Context,
    *,
    load_balancer: LoadBalancerArgument,
    service: ServiceArgument,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    port: Annotated[int | None, typer.Option(help="Port that clients connect to.")] = None,
    target_port: Annotated[int | None, typer.Option(help="Port on the instances.")] = None,
    strategy: Annotated[Strategy | None, _STRATEGY] = None,
    forwarding_method: Annotated[Method | None, _METHOD] = None,
    persistence: Annotated[dict[str, int] | None, _PERSISTENCE] = None,
    no_persistence: Annotated[bool, typer.Option("--no-persistence", help="Let clients move again.")] = False,
    check: Annotated[HealthCheckMode | None, typer.Option(help="How health is checked.")] = None,
    check_port: Annotated[int | None, typer.Option(help="Port that is checked.")] = None,
    check_uri: Annotated[str | None, typer.Option(help="Path to ask for, with http and https.")] = None,
    check_interval: Annotated[int | None, typer.Option(help="Seconds between checks.")] = None,
    check_timeout: Annotated[int | None, typer.Option(help="Seconds an answer may take.")] = None,
    check_retries: Annotated[int | None, typer.Option(help="Failures in a row until it is unhealthy.")] = None,
    tls_sni: Annotated[str | None, typer.Option(help="Server name to ask for, with https.")] = None,
    check_option: CheckOptions = None,
    wait: WaitOption = 60,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a service; what is left out stays."""
    if no_persistence and persistence is not None:
        raise typer.BadParameter("Say --persistence or --no-persistence, not both.")
    given = {
        "mode": None if check is None else check.value,
        "port": check_port,
        "interval": check_interval,
        "timeout": check_timeout,
        "retries": check_retries,
        "uri": check_uri,
        "tls-sni": tls_sni,
        **check_options_of(check_option),
    }
    changes = {
        "name": name,
        "port": port,
        "target_port": target_port,
        "strategy": strategy,
        "forwarding_method": None if forwarding_method is None else forwarding_method.value,
        "persistence": persistence,
        "healthcheck": {field: value for field, value in given.items() if value is not None} or None,
    }
    if not no_persistence and all(value is None for value in changes.values()):
        raise InvalidInput("Nothing to change is named: --help lists what can be.")
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
        changing = pick(found.services, service, "service")
        if no_persistence:
            operation = client.services.reset(found.id, changing.id, "persistence")
        if any(value is not None for value in changes.values()):
            operation = client.services.update(found.id, changing.id, **changes)
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
