"""The command line's process: an error of ours is one sentence on standard error, and the exit code of its kind.

The lab, the doctor and the console are siblings of the commands that ask the API: none of them knows another.
"""

from __future__ import annotations

import os
import sys

from typer.core import TyperGroup
from typer.main import get_command

from bascule.cli.application import app
from bascule.cli.on_this_machine import OnThisMachine
from bascule.model.errors import BasculeError


def command_line() -> TyperGroup:
    """All commands."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    for command in (
        OnThisMachine(
            "lab",
            at="bascule.lab.commands:lab_app",
            sentence="A data centre in network namespaces: build it, look at it, send traffic, break it.",
        ),
        OnThisMachine(
            "doctor",
            at="bascule.doctor.command:doctor",
            sentence="Say what this machine can run, what is in the way, and the command that mends it.",
        ),
        OnThisMachine(
            "console",
            at="bascule.programs.console:console",
            sentence="Serve the console until Ctrl-C: jobs and their steps, live, in a browser (for operators).",
            epilog="Example: bascule console --listen 127.0.0.1:8090",
        ),
    ):
        root.add_command(command)
    return root


def main() -> None:
    """Run one command."""
    try:
        command_line()()
    except BasculeError as error:
        sys.stderr.write(f"{error.sentence}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away, as `head` does: what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
