"""`bascule plan`: any command that changes something, and what it would do (for operators)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from bascule.cli.on_this_machine import OnThisMachine
from bascule.cli.output import Output, OutputOption, console, json_of, print_json, say
from bascule.client.transport import Planned
from bascule.model.errors import InvalidInput
from bascule.wire.admin_v1_plan import ForecastView, LoadBalancerPlanView, PlanView

# What follows is another command with options of its own.
PLAN_CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}
PLAN_EPILOG = """Examples: bascule plan pool scale front 3; bascule plan node disable lb-1;
bascule plan lb delete web"""


def plan(
    context: typer.Context,
    *,
    _command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND...", help="The command, as you would type it.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a command would do, and do nothing: jobs, nodes, connections (for operators)."""
    root = context.find_root()
    root.obj = replace(root.obj, planning=True)
    words = [*(_command or []), *context.args]
    if not words or words[0] == "plan":
        raise InvalidInput("Say what to plan, such as: bascule plan pool scale front 3.", field="COMMAND")
    group = root.command
    assert isinstance(group, typer.core.TyperGroup)
    try:
        name, command, rest = group.resolve_command(root, words)
        assert command is not None
        if isinstance(command, OnThisMachine):
            raise InvalidInput(f"{name} acts on this machine: only what asks the API can be planned.", field="COMMAND")
        with command.make_context(name, rest, parent=root) as called:
            command.invoke(called)
    except Planned as planned:
        _show(planned.plan, output)
    else:
        say("This command changes nothing: there is nothing to plan.")


def _show(found: PlanView, output: Output) -> None:
    if output is Output.JSON:
        print_json(json_of(found))
        return
    if not found.load_balancers:
        say("No load balancer would be touched.")
    for each in found.load_balancers:
        console().print(_tree(each))
    if found.others:
        say(f"{found.others} other load balancers would be touched; they are not looked at.")


def _tree(found: LoadBalancerPlanView) -> Tree:
    root = Tree(Text(f"{found.name}: {found.sentence}"))
    branches = {"": root}
    for step in found.steps:
        parent = branches.get(step.path.rpartition(".")[0], root)
        branches[step.path] = parent.add(Text(f"{step.title} [{step.node}]"))
    if found.touches:
        root.add(Text(f"touches {', '.join(found.touches)}"))
    for service in found.services:
        root.add(Text(" ".join(_words(service))))
    for remark in found.remarks:
        root.add(Text(remark))
    return root


def _words(found: ForecastView) -> Iterator[str]:
    yield f"{found.service} on {found.lb_node}:"
    if found.moved is not None and found.cut is not None:
        yield f"{found.moved:.1%} of new connections go elsewhere, {found.cut:.1%} of the open ones break."
    if found.connections is not None:
        yield f"{found.connections} connections are open, {found.connections_cut} of them to instances that leave."
    if found.remembered_for:
        yield f"Older connections of moved slots stay where they are, for {found.remembered_for:g} s at least."
    if found.sentence:
        yield found.sentence
