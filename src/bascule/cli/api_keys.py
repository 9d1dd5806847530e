"""`bascule api-key`: who may use the public API (for operators)."""

from __future__ import annotations

from typing import Annotated

import typer

from bascule.cli.output import Output, OutputOption, say, show_list, show_one
from bascule.cli.session import admin

api_key_app = typer.Typer(no_args_is_help=True, help="API keys: who may use the public API (for operators).")


@api_key_app.command("list")
def list_api_keys(context: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List API keys, without their secrets."""
    with admin(context) as client:
        found = client.api_keys.list_all()
    columns = {"KEY": "key", "NAME": "name", "CREATED": "created_at"}
    show_list(output, found, columns, empty="No API key yet: create one with 'bascule api-key create NAME'.")


@api_key_app.command("create", epilog="Example: bascule api-key create alice --output json")
def create_api_key(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Who uses it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Create an API key. Its secret is shown now and never again."""
    with admin(context) as client:
        show_one(output, client.api_keys.create(name=name))


@api_key_app.command("delete")
def delete_api_key(context: typer.Context, key: Annotated[str, typer.Argument(help="The key, EXO…")]) -> None:
    """Refuse what is signed with this key from now on."""
    with admin(context) as client:
        client.api_keys.delete(key)
    say(f"API key {key} is deleted.")
