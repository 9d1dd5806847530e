"""The command line's process: an error of ours is one sentence on standard error, and the exit code of its kind.

The lab and the doctor act on this machine, the other commands reach the system through the API only. What acts on the
machine takes four times as long to load, so it is joined when the command line begins with it, or with no command.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from bascule.cli.application import app
from bascule.model.errors import BasculeError

# What is joined here, by its module and its name there. The console is a sibling: neither knows the other.
_JOINED = {
    "lab": ("bascule.lab.commands", "lab_app"),
    "doctor": ("bascule.doctor.command", "doctor"),
    "console": ("bascule.programs.console", "console"),
}
_EPILOGS = {"console": "Example: bascule console --listen 127.0.0.1:8090"}


def main() -> None:
    """Run one command."""
    try:
        join(sys.argv[1:])
        app()
    except BasculeError as error:
        sys.stderr.write(f"{error.sentence}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away, as `head` does: what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def join(words: Sequence[str]) -> None:
    """Add the commands that a command line of these words may mean: all of them, unless the first is another's."""
    known = {group.name for group in app.registered_groups} | {command.name for command in app.registered_commands}
    first = words[0] if words else ""
    for name in () if first in known else (first,) if first in _JOINED else _JOINED:
        module, attribute = _JOINED[name]
        found: Any = getattr(importlib.import_module(module), attribute)
        if name == "lab":
            app.add_typer(found, name=name)
        else:
            app.command(name, epilog=_EPILOGS.get(name))(found)
