"""`bascule node`: LB nodes (for operators)."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.output import Output, OutputOption, say, show_list, show_one
from bascule.cli.parsers import labels_of
from bascule.cli.session import admin, pick
from bascule.model.data_planes import DataPlaneName
from bascule.model.nodes import Silence

node_app = typer.Typer(no_args_is_help=True, help="LB nodes: the machines that carry VIPs (for operators).")
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Name or identifier of the LB node.")]
_DATA_PLANE = typer.Option(help="What its agent runs (BASCULE_DATAPLANE).")
NodeLabelsOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="A label that load balancers may ask for; repeat it for more."),
]
TokenOption = Annotated[
    str, typer.Option("--agent-token", envvar="BASCULE_AGENT_TOKEN", help="The token its agent wants.", prompt=True)
]


@node_app.command("list")
def list_nodes(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List LB nodes."""
    columns = {
        "NAME": "name",
        "AGENT": "agent_url",
        "DATA PLANE": "data_plane",
        "ENABLED": "enabled",
        "DRAINS UNTIL": "drain_until",
        "LOAD BALANCERS": "load_balancers",
        "DOMAIN": "failure_domain",
        "ID": "id",
    }
    with admin(context) as client:
        found = client.lb_nodes.list_all()
    if any(node.silent_since is not None for node in found):
        columns |= {"SILENT SINCE": "silent_since", "": "silence"}
    show_list(output, found, columns, empty="No LB node yet: register one with 'bascule node create NAME'.")
    if any(node.silence is Silence.HELD for node in found):
        say(
            "More LB nodes are silent than may be replaced at once, and none is replaced: see that the orchestrator"
            " reaches them, and disable those that are gone for good."
        )


@node_app.command("show")
def show_node(context: typer.Context, node: NodeArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one LB node."""
    with admin(context) as client:
        show_one(output, pick(client.lb_nodes.list_all(), node, "LB node"))


@node_app.command(
    "create", epilog="Example: BASCULE_AGENT_TOKEN=… bascule node create lb-1 --agent-url http://192.0.2.10:7701"
)
def create_node(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    agent_url: Annotated[str, typer.Option(help="Where its agent answers.")],
    agent_token: TokenOption,
    failure_domain: Annotated[str, typer.Option(help="Rack or power feed: nodes that may die together.")] = "",
    data_plane: Annotated[DataPlaneName, _DATA_PLANE] = DataPlaneName.XDP,
    label: NodeLabelsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register an LB node."""
    with admin(context) as client:
        created = client.lb_nodes.create(
            name=name,
            agent_url=agent_url,
            agent_token=agent_token,
            failure_domain=failure_domain,
            data_plane=data_plane,
            labels=labels_of(label),
        )
    show_one(output, created)


@node_app.command("set", epilog="Example: bascule node set lb-1 --data-plane ipvs")
def set_node(
    context: typer.Context,
    *,
    node: NodeArgument,
    data_plane: Annotated[DataPlaneName | None, _DATA_PLANE] = None,
    failure_domain: Annotated[str | None, typer.Option(help="Nodes that may die together.")] = None,
    agent_url: Annotated[str | None, typer.Option(help="Where its agent answers.")] = None,
    label: NodeLabelsOption = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="It has no label any more.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change what is known of a node; load balancers that it may not carry any more move to others."""
    if label and no_labels:
        raise typer.BadParameter("Say --label or --no-labels.")
    with admin(context) as client:
        found = pick(client.lb_nodes.list_all(), node, "LB node")
        changed = client.lb_nodes.update(
            found.id,
            data_plane=data_plane,
            failure_domain=failure_domain,
            agent_url=agent_url,
            labels={} if no_labels else labels_of(label),
        )
    show_one(output, changed)


@node_app.command("disable")
def disable_node(context: typer.Context, node: NodeArgument, output: OutputOption = Output.TABLE) -> None:
    """Move its load balancers to others at once; 'drain' gives its connections time."""
    _enable(context, node, output, enabled=False)


@node_app.command("enable")
def enable_node(context: typer.Context, node: NodeArgument, output: OutputOption = Output.TABLE) -> None:
    """Let load balancers come to it again."""
    _enable(context, node, output, enabled=True)


def _enable(context: typer.Context, node: str, output: Output, *, enabled: bool) -> None:
    with admin(context) as client:
        found = pick(client.lb_nodes.list_all(), node, "LB node")
        show_one(output, client.lb_nodes.update(found.id, enabled=enabled))


@node_app.command("rebalance", epilog="Example: bascule node rebalance --at-most 20")
def rebalance_nodes(
    context: typer.Context,
    *,
    at_most: Annotated[int, typer.Option(min=1, max=1000, help="Load balancers that move at the same time.")] = 10,
) -> None:
    """Move load balancers from full nodes to emptier ones, as after a node was added: nothing moves by itself."""
    with admin(context) as client:
        done = client.lb_nodes.rebalance(at_most)
    sentence = f"{done.moved} load balancers move, {done.under_way} were moving already."
    say(f"{sentence} {done.left} moves are left: ask again when these are done." if done.left else sentence)


@node_app.command("delete")
def delete_node(
    context: typer.Context,
    *,
    node: NodeArgument,
    dead: Annotated[bool, typer.Option("--dead", help="It is switched off for good, whatever it carried.")] = False,
) -> None:
    """Forget an LB node that is disabled and carries nothing, or is dead."""
    with admin(context) as client:
        found = pick(client.lb_nodes.list_all(), node, "LB node")
        client.lb_nodes.delete(found.id, dead=dead)
    say(f"LB node {found.name} is forgotten.")
