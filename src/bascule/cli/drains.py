"""`bascule instance`, and the verbs drain and undrain of instances, pools, hypervisors and LB nodes (for operators)."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bascule.cli.hypervisors import hypervisor_app
from bascule.cli.instance_pools import PoolArgument, pool_app
from bascule.cli.lb_nodes import NodeArgument, node_app
from bascule.cli.output import Output, OutputOption, console, print_line, say
from bascule.cli.parsers import DeadlineOption
from bascule.cli.session import admin, pick
from bascule.client.clients import AdminClient
from bascule.client.drains import instance_path
from bascule.model.errors import Conflict, NotFound
from bascule.wire.admin_v1_drains import DrainsView, InstanceDrainView, LBNodeDrainView

instance_app = typer.Typer(no_args_is_help=True, help="Instances that drain (for operators); 'pool' has the others.")
InstanceArgument = Annotated[str, typer.Argument(metavar="INSTANCE", help="Name or identifier of the instance.")]
HypervisorArgument = Annotated[str, typer.Argument(metavar="HYPERVISOR", help="Name or identifier of the hypervisor.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Show what remains until it has drained.")]
_EVERY = 1.0  # seconds


@instance_app.command("list")
def list_drains(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List what drains, with the connections that remain, and what is drained."""
    with admin(context) as client:
        _show(output, client.drains.show())


@instance_app.command("drain", epilog="Example: bascule instance drain web-1 --deadline 5m --wait")
def drain_instance(
    context: typer.Context,
    *,
    instance: InstanceArgument,
    deadline: DeadlineOption = None,
    wait: WaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give an instance no new connections; those that it has live until they end, or until the deadline."""
    _drain(context, lambda client: _instance_path(client, instance), deadline, wait, output)


@instance_app.command("undrain", epilog="Example: bascule instance undrain web-1")
def undrain_instance(
    context: typer.Context, *, instance: InstanceArgument, output: OutputOption = Output.TABLE
) -> None:
    """Let an instance serve again."""
    _undrain(context, lambda client: _instance_path(client, instance), output)


def drain_pool(
    context: typer.Context,
    *,
    pool: PoolArgument,
    deadline: DeadlineOption = None,
    wait: WaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give no instance of a pool new connections (for operators)."""
    _drain(context, lambda client: _pool_path(client, pool), deadline, wait, output)


def undrain_pool(context: typer.Context, *, pool: PoolArgument, output: OutputOption = Output.TABLE) -> None:
    """Let all instances of a pool serve again (for operators)."""
    _undrain(context, lambda client: _pool_path(client, pool), output)


def drain_hypervisor(
    context: typer.Context,
    *,
    hypervisor: HypervisorArgument,
    deadline: DeadlineOption = None,
    wait: WaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give no instance on a hypervisor new connections, as before maintenance."""
    _drain(context, lambda client: _hypervisor_path(client, hypervisor), deadline, wait, output)


def undrain_hypervisor(
    context: typer.Context, *, hypervisor: HypervisorArgument, output: OutputOption = Output.TABLE
) -> None:
    """Let all instances on a hypervisor serve again."""
    _undrain(context, lambda client: _hypervisor_path(client, hypervisor), output)


def drain_node(
    context: typer.Context,
    *,
    node: NodeArgument,
    deadline: DeadlineOption = None,
    wait: WaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Move everything off a node: others serve first, then it withdraws, and it stops when no packets come."""
    _drain(context, lambda client: _node_path(client, node), deadline, wait, output)


def undrain_node(context: typer.Context, *, node: NodeArgument, output: OutputOption = Output.TABLE) -> None:
    """Let load balancers come to a node again, as 'enable' does."""
    _undrain(context, lambda client: _node_path(client, node), output)


def add_commands() -> None:
    """Add the verbs to the nouns."""
    pool_app.command("drain", epilog="Example: bascule pool drain front --deadline 10m --wait")(drain_pool)
    pool_app.command("undrain")(undrain_pool)
    hypervisor_app.command("drain", epilog="Example: bascule hypervisor drain hv-1 --wait")(drain_hypervisor)
    hypervisor_app.command("undrain")(undrain_hypervisor)
    node_app.command("drain", epilog="Example: bascule node drain lb-1 --wait")(drain_node)
    node_app.command("undrain")(undrain_node)


def _instance_path(client: AdminClient, wanted: str) -> str:
    found = [
        (pool, each)
        for pool in client.instance_pools.list_all()
        for each in pool.instances
        if wanted in {each.name, str(each.id)}
    ]
    if not found:
        raise NotFound(f"There is no instance {wanted!r}: 'bascule pool show POOL' lists those of a pool.")
    if len(found) > 1:
        which = ", ".join(f"{each.id} of {pool.name}" for pool, each in found)
        raise Conflict(f"Several instances are named {wanted!r}: give the identifier of the one you mean ({which}).")
    pool, instance = found[0]
    return instance_path(pool.id, instance.id)


def _pool_path(client: AdminClient, wanted: str) -> str:
    return f"instance-pools/{pick(client.instance_pools.list_all(), wanted, 'instance pool').id}"


def _hypervisor_path(client: AdminClient, wanted: str) -> str:
    return f"hypervisors/{pick(client.hypervisors.list_all(), wanted, 'hypervisor').id}"


def _node_path(client: AdminClient, wanted: str) -> str:
    return f"lb-nodes/{pick(client.lb_nodes.list_all(), wanted, 'LB node').id}"


def _drain(
    context: typer.Context, path: Callable[[AdminClient], str], deadline: int | None, wait: bool, output: Output
) -> None:
    with admin(context) as client:
        found = client.drains.drain(path(client), deadline)
        if not wait:
            _show(output, found)
            return
        _follow(client, found, output)
    say("Drained.")


def _undrain(context: typer.Context, path: Callable[[AdminClient], str], output: Output) -> None:
    with admin(context) as client:
        _show(output, client.drains.undrain(path(client)))


def _follow(client: AdminClient, found: DrainsView, output: Output) -> None:
    """Until nothing of it drains. Whoever is stopped from looking stops nothing else."""
    wanted = {each.id for each in found.instances} | {each.id for each in found.lb_nodes}
    if output is Output.JSON:
        before: DrainsView | None = None
        while found != before or _going_on(found):
            if found != before:
                print_line(found)
            before, found = found, _next(client, wanted)
        return
    with Live(_picture(found), console=console(), auto_refresh=False) as live:
        while _going_on(found):
            found = _next(client, wanted)
            live.update(_picture(found), refresh=True)


def _next(client: AdminClient, wanted: Set[UUID]) -> DrainsView:
    time.sleep(_EVERY)
    found = client.drains.show()
    return DrainsView(
        instances=[each for each in found.instances if each.id in wanted],
        lb_nodes=[each for each in found.lb_nodes if each.id in wanted],
    )


def _going_on(found: DrainsView) -> bool:
    deadlines = [each.until for each in found.instances] + [each.until for each in found.lb_nodes]
    return any(until is not None for until in deadlines)


def _show(output: Output, found: DrainsView) -> None:
    if output is Output.JSON:
        print_line(found)
    elif found.instances or found.lb_nodes:
        console().print(_picture(found))
    else:
        say("Nothing drains.")


def _picture(found: DrainsView) -> Group:
    parts = []
    if found.instances:
        table = _table("INSTANCE", "POOL", "DRAINS", "CONNECTIONS", "BY LB NODE")
        for each in found.instances:
            table.add_row(*map(Text, _instance_row(each)))
        parts.append(table)
    if found.lb_nodes:
        table = _table("LB NODE", "DRAINS", "LOAD BALANCERS", "ANNOUNCED", "PACKETS")
        for node in found.lb_nodes:
            table.add_row(*map(Text, _node_row(node)))
        parts.append(table)
    return Group(*parts)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _instance_row(each: InstanceDrainView) -> tuple[str, ...]:
    by_node: dict[str, list[int | None]] = {}
    for one in each.remaining:
        by_node.setdefault(one.lb_node, []).append(one.connections)
    counts = (
        f"{node} {'?' if None in found else sum(one for one in found if one is not None)}"
        for node, found in by_node.items()
    )
    left = "-" if each.until is None else "?" if each.connections is None else str(each.connections)
    return each.name, each.pool_name, _when(each.until, "drained"), left, ", ".join(counts)


def _node_row(each: LBNodeDrainView) -> tuple[str, ...]:
    ended = "drained" if not each.load_balancers else "no more"
    return each.name, _when(each.until, ended), str(each.load_balancers), str(each.announced), str(each.packets)


def _when(until: datetime | None, ended: str) -> str:
    if until is None:
        return ended
    left = max(0, round((until - datetime.now(UTC)).total_seconds()))
    return f"{left // 60}:{left % 60:02} at most"
