"""`bascule lb`: load balancers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bascule.cli.output import Output, OutputOption, WaitOption, json_of, print_json, say, show_list, show_one
from bascule.cli.parsers import AddressOption, FamilyOption, LabelsOption, labels_of
from bascule.cli.session import admin, api, is_operator, pick, settle
from bascule.cli.states import show_state
from bascule.model.placements import NODES_MOST
from bascule.wire.public_v2_views import LoadBalancerView

lb_app = typer.Typer(no_args_is_help=True, help="Load balancers: an address with several services.")
LoadBalancerArgument = Annotated[str, typer.Argument(metavar="LB", help="Name or identifier of the load balancer.")]
NodesOption = Annotated[
    int | None,
    typer.Option("--nodes", min=1, max=NODES_MOST, help="On how many LB nodes; 2 unless said.", show_default=False),
]
AffinityOption = Annotated[
    list[str] | None,
    typer.Option("--affinity", metavar="KEY=VALUE", help="A label that its LB nodes must have; repeat it for more."),
]
AntiAffinityOption = Annotated[
    str | None,
    typer.Option(metavar="GROUP", help="Load balancers of one group avoid each other's LB nodes; '' leaves it."),
]
_COLUMNS = {"NAME": "name", "ADDRESS": "ip", "STATE": "state", "ID": "id"}


_SERVICES = {
    "SERVICE": "name",
    "PROTOCOL": "protocol",
    "PORT": "port",
    "TARGET": "target_port",
    "STRATEGY": "strategy",
    "METHOD": "forwarding_method",
    "PERSISTENCE": "persistence",
    "STATE": "state",
    "HEALTH": "healthcheck_status",
    "ID": "id",
}
# Columns only where a service has something there.
_UNUSUAL = {"forwarding_method", "persistence"}


def show(output: Output, load_balancer: LoadBalancerView) -> None:
    """Print a load balancer, for people with a table of its services below."""
    show_one(output, load_balancer, without=("services",))
    if output is Output.TABLE:
        show_services(output, load_balancer)


def show_services(output: Output, load_balancer: LoadBalancerView) -> None:
    """Print the services of a load balancer."""
    add = f"No service yet: add one with 'bascule lb service-add {load_balancer.name} NAME'."
    unusual = {field for field in _UNUSUAL if any(getattr(one, field) is not None for one in load_balancer.services)}
    columns = {heading: field for heading, field in _SERVICES.items() if field not in _UNUSUAL - unusual}
    show_list(output, load_balancer.services, columns, empty=add)


@lb_app.command("list")
def list_load_balancers(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List load balancers."""
    with api(context) as client:
        found = client.load_balancers.list_all()
    show_list(output, found, _COLUMNS, empty="No load balancer yet: create one with 'bascule lb create NAME'.")


@lb_app.command("show")
def show_load_balancer(
    context: typer.Context, *, load_balancer: LoadBalancerArgument, output: OutputOption = Output.TABLE
) -> None:
    """Show one load balancer with its services and their instances' health.

    With the operators' token, also what every LB node has of it: connections, packets and bytes, as ipvsadm -L does.
    """
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
    if not is_operator(context):
        show(output, found)
        return
    with admin(context) as operators:
        state = operators.load_balancers.state(found.id)
    if output is Output.JSON:
        print_json({**json_of(found), "remarks": state.remarks, "lb-nodes": json_of(state)["lb-nodes"]})
        return
    show(output, found)
    show_state(state)


@lb_app.command("create", epilog="Example: bascule lb create web --ip 192.0.2.10 --label team=shop")
def create_load_balancer(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    ip: AddressOption = None,
    family: FamilyOption = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    label: LabelsOption = None,
    nodes: NodesOption = None,
    affinity: AffinityOption = None,
    anti_affinity: AntiAffinityOption = None,
    wait: WaitOption = 60,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a load balancer."""
    with api(context) as client:
        operation = client.load_balancers.create(
            name=name,
            description=description,
            labels=labels_of(label),
            ip=ip,
            addressfamily=family,
            node_count=nodes,
            affinity=labels_of(affinity),
            anti_affinity=anti_affinity,
        )
        settle(client, operation, wait)
        show(output, client.load_balancers.get(operation.reference.id))


@lb_app.command("update", epilog="Example: bascule lb update web --name shop")
def update_load_balancer(
    context: typer.Context,
    *,
    load_balancer: LoadBalancerArgument,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    label: LabelsOption = None,
    nodes: NodesOption = None,
    affinity: AffinityOption = None,
    no_affinity: Annotated[bool, typer.Option("--no-affinity", help="Any LB node will do again.")] = False,
    anti_affinity: AntiAffinityOption = None,
    wait: WaitOption = 60,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change what describes a load balancer, and on which LB nodes it is."""
    if affinity and no_affinity:
        raise typer.BadParameter("Say --affinity or --no-affinity.")
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
        operation = client.load_balancers.update(
            found.id,
            name=name,
            description=description,
            labels=labels_of(label),
            node_count=nodes,
            affinity={} if no_affinity else labels_of(affinity),
            anti_affinity=anti_affinity,
        )
        settle(client, operation, wait)
        show(output, client.load_balancers.get(found.id))


@lb_app.command("delete")
def delete_load_balancer(context: typer.Context, load_balancer: LoadBalancerArgument, wait: WaitOption = 60) -> None:
    """Delete a load balancer, its services and the address that came with it."""
    with api(context) as client:
        found = pick(client.load_balancers.list_all(), load_balancer, "load balancer")
        settle(client, client.load_balancers.delete(found.id), wait)
    say(f"Load balancer {found.name} is {'deleted' if wait else 'being deleted'}.")


@lb_app.command("detail")
def show_detail(
    context: typer.Context, *, load_balancer: LoadBalancerArgument, output: OutputOption = Output.TABLE
) -> None:
    """Show where a load balancer is placed and what each LB node says (for operators)."""
    with api(context) as users, admin(context) as operators:
        found = pick(users.load_balancers.list_all(), load_balancer, "load balancer")
        show(output, operators.load_balancers.get(found.id))


class ReconcilePriority(StrEnum):
    """Before whom it runs, the most urgent first."""

    USER = "user"
    OPERATOR = "operator"
    EVENT = "event"
    PERIODIC = "periodic"


@lb_app.command("reconcile", epilog="Example: bascule lb reconcile --label stage=test --priority periodic")
def reconcile_load_balancers(
    context: typer.Context,
    *,
    load_balancers: Annotated[list[str] | None, typer.Argument(metavar="[LB]...", help="Names or identifiers.")] = None,
    label: LabelsOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every load balancer.")] = False,
    priority: Annotated[
        ReconcilePriority, typer.Option(help="Before whom they run; user comes first.")
    ] = ReconcilePriority.OPERATOR,
) -> None:
    """Ask for the reconciliation of load balancers: by name, by labels (all of them), or of all (for operators)."""
    labels = labels_of(label)
    if [bool(load_balancers), labels is not None, everything].count(True) != 1:
        raise typer.BadParameter("Name load balancers, or give labels, or say --all.")
    with admin(context) as operators:
        ids = None
        if load_balancers:
            with api(context) as users:
                known = users.load_balancers.list_all()
            ids = [pick(known, wanted, "load balancer").id for wanted in load_balancers]
        asked = operators.load_balancers.reconcile(ids, labels=labels, priority=priority.value)
        say(f"{asked} reconciliations are asked for: 'bascule queue' shows them.")
