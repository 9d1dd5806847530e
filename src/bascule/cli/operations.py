"""`bascule operation`: what became of a change."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from bascule.cli.output import Output, OutputOption, show_one
from bascule.cli.session import api

operation_app = typer.Typer(no_args_is_help=True, help="Operations: what became of a change.")
_OperationArgument = Annotated[UUID, typer.Argument(metavar="OPERATION", help="Identifier that the change answered.")]


@operation_app.command("show")
def show_operation(context: typer.Context, operation: _OperationArgument, output: OutputOption = Output.TABLE) -> None:
    """Show an operation."""
    with api(context) as client:
        show_one(output, client.operations.get(operation))


@operation_app.command("wait")
def wait_for_operation(
    context: typer.Context,
    *,
    operation: _OperationArgument,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.", min=0)] = 60,
    output: OutputOption = Output.TABLE,
) -> None:
    """Wait until an operation has ended."""
    with api(context) as client:
        show_one(output, client.wait(operation, timeout))
