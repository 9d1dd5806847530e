"""Commands that act on this machine instead of asking the API: they are loaded when they are run, not to list them."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class OnThisMachine(TyperCommand):
    """A name and a sentence in lists; to run it, or to describe it, `real` loads what it stands for."""

    def __init__(self, name: str, *, at: str, sentence: str, epilog: str | None = None) -> None:
        """`at` is "module:name" of a Typer application or of a function; `sentence` its help's first line."""
        super().__init__(name, help=sentence, callback=None)
        self._at = at
        self._epilog = epilog

    def real(self) -> TyperCommand | TyperGroup:
        """The command itself."""
        module, _, attribute = self._at.partition(":")
        found: Any = getattr(importlib.import_module(module), attribute)
        around = typer.Typer(add_completion=False)
        around.callback()(_nothing)  # so that it is a group of one
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=self.name)
        else:
            around.command(self.name, epilog=self._epilog)(found)
        group: Any = get_command(around)
        return group.commands[self.name]  # type: ignore[no-any-return]

    def make_context(self, *words: Any, **options: Any) -> Any:
        """The real command's: whoever invokes a command asks for this first, and invokes what the context is of."""
        return self.real().make_context(*words, **options)


def _nothing() -> None:
    """Of the group around a command."""
