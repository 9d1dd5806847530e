"""`bascule pool`: instance pools and their members. What registers members is for operators."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bascule.cli.output import Output, OutputOption, WaitOption, say, show_list, show_one
from bascule.cli.parsers import DeadlineOption, Method, OwnMethod, address_of
from bascule.cli.session import admin, api, pick, settle
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.admin_v1 import InstancePoolView

pool_app = typer.Typer(no_args_is_help=True, help="Instance pools: groups of machines that grow and shrink.")
PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="Name or identifier of the pool.")]
InstanceArgument = Annotated[str, typer.Argument(metavar="INSTANCE", help="Name or identifier of the member.")]
_MEMBERS = {
    "NAME": "name",
    "ADDRESS": "address",
    "WEIGHT": "weight",
    "METHOD": "forwarding_method",
    "SERVES": "active",
    "EVICTED": "evicted",
    "STOPPED": "stopped",
    "DRAINS UNTIL": "drain_until",
    "HYPERVISOR": "hypervisor",
    "MOVING TO": "moving_to",
    "ID": "id",
}


@pool_app.command("list")
def list_pools(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List instance pools."""
    with api(context) as client:
        found = client.instance_pools.list_all()
    columns = {"NAME": "name", "SIZE": "size", "STATE": "state", "ID": "id"}
    show_list(output, found, columns, empty="No instance pool yet: create one with 'bascule pool create NAME'.")


@pool_app.command("show")
def show_pool(context: typer.Context, pool: PoolArgument, output: OutputOption = Output.TABLE) -> None:
    """Show the members of a pool (for operators)."""
    with admin(context) as client:
        _show(output, pick(client.instance_pools.list_all(), pool, "instance pool"))


@pool_app.command("create", epilog="Example: bascule pool create front")
def create_pool(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    size: Annotated[int | None, typer.Option(help="How many members serve at most; all without it.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create an empty pool (for operators)."""
    with admin(context) as client:
        show_one(output, client.instance_pools.create(name=name, size=size))


@pool_app.command("add", epilog="Example: bascule pool add front web-1 --address 10.0.0.1 --hypervisor hv-1")
def add_instance(
    context: typer.Context,
    *,
    pool: PoolArgument,
    name: Annotated[str, typer.Argument(help="The member's name.")],
    address: Annotated[Any, typer.Option(help="Its address.", parser=address_of, metavar="ADDRESS")],
    hypervisor: Annotated[str, typer.Option(help="Name or identifier of the hypervisor that carries it.")],
    weight: Annotated[int, typer.Option(help="Its share; 0 keeps connections and takes no new ones.")] = 1,
    forwarding_method: Annotated[
        Method | None, typer.Option(help="How packets get to it, whatever its services say.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a member (for operators)."""
    with admin(context) as client:
        found = pick(client.instance_pools.list_all(), pool, "instance pool")
        changed = client.instance_pools.register(
            found.id,
            name=name,
            address=address,
            hypervisor=hypervisor,
            weight=weight,
            forwarding_method=None if forwarding_method is None else ForwardingMethod(forwarding_method),
        )
    _show(output, changed)


@pool_app.command("set", epilog="Example: bascule pool set front web-1 --weight 0")
def set_instance(
    context: typer.Context,
    *,
    pool: PoolArgument,
    instance: InstanceArgument,
    weight: Annotated[int | None, typer.Option(help="Its share; 0 keeps connections and takes no new ones.")] = None,
    hypervisor: Annotated[str | None, typer.Option(help="The hypervisor that carries it now.")] = None,
    forwarding_method: Annotated[OwnMethod | None, typer.Option(help="How packets get to it.")] = None,
    evicted: Annotated[bool | None, typer.Option("--evicted/--not-evicted", help="Whether it is kept out.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a member (for operators)."""
    with admin(context) as client:
        found = pick(client.instance_pools.list_all(), pool, "instance pool")
        member = pick(found.instances, instance, "instance")
        changed = client.instance_pools.update(
            found.id,
            member.id,
            weight=weight,
            hypervisor=hypervisor,
            forwarding_method=forwarding_method,
            evicted=evicted,
        )
    _show(output, changed)


@pool_app.command("migrate", epilog="Example: bascule pool migrate front web-1 --to hv-2")
def migrate_instance(
    context: typer.Context,
    *,
    pool: PoolArgument,
    instance: InstanceArgument,
    to: Annotated[str, typer.Option(help="Where it will be; naming where it is calls the move off.")],
    done: Annotated[bool, typer.Option("--done", help="It is there now.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a hypervisor get ready for a member before it moves there; say --done when it has (for operators)."""
    with admin(context) as client:
        found = pick(client.instance_pools.list_all(), pool, "instance pool")
        member = pick(found.instances, instance, "instance")
        place = {"hypervisor": to} if done else {"moving_to": to}
        changed = client.instance_pools.update(found.id, member.id, **place)
    _show(output, changed)


@pool_app.command("remove")
def remove_instance(
    context: typer.Context,
    *,
    pool: PoolArgument,
    instance: InstanceArgument,
    deadline: DeadlineOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a member out of the pool when it has drained (for operators)."""
    with admin(context) as client:
        found = pick(client.instance_pools.list_all(), pool, "instance pool")
        member = pick(found.instances, instance, "instance")
        changed = client.instance_pools.remove(found.id, member.id, drain_deadline=deadline)
    _show(output, changed)


@pool_app.command("scale", epilog="Example: bascule pool scale front 3")
def scale_pool(
    context: typer.Context,
    *,
    pool: PoolArgument,
    size: Annotated[int, typer.Argument(help="How many members serve.")],
    deadline: DeadlineOption = None,
    wait: WaitOption = 60,
) -> None:
    """Let so many members serve, oldest first; the others drain."""
    with api(context) as client:
        found = pick(client.instance_pools.list_all(), pool, "instance pool")
        settle(client, client.instance_pools.scale(found.id, size, drain_deadline=deadline), wait)
    say(f"Pool {found.name} has size {size}.")


@pool_app.command("evict", epilog="Example: bascule pool evict front web-1 web-2")
def evict_instances(
    context: typer.Context,
    *,
    pool: PoolArgument,
    instances: Annotated[list[str], typer.Argument(metavar="INSTANCE...", help="Names or identifiers.")],
    deadline: DeadlineOption = None,
    wait: WaitOption = 60,
) -> None:
    """Take members out of service, which drain, and shrink the pool (names need the operators' token too)."""
    with api(context) as client, admin(context) as operators:
        found = pick(operators.instance_pools.list_all(), pool, "instance pool")
        leaving = [pick(found.instances, wanted, "instance").id for wanted in instances]
        settle(client, client.instance_pools.evict(found.id, leaving, drain_deadline=deadline), wait)
    say(f"{len(leaving)} members of {found.name} serve no more.")


@pool_app.command("delete")
def delete_pool(context: typer.Context, pool: PoolArgument) -> None:
    """Delete a pool that no service uses."""
    with api(context) as client:
        found = pick(client.instance_pools.list_all(), pool, "instance pool")
        client.instance_pools.delete(found.id)
    say(f"Pool {found.name} is deleted.")


def _show(output: Output, pool: InstancePoolView) -> None:
    if output is Output.JSON:
        show_one(output, pool)
    else:
        show_list(output, pool.instances, _MEMBERS, empty="No member yet: register one with 'bascule pool add'.")
