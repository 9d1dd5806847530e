"""The command line's process: an error of ours is one sentence on standard error, and the exit code of its kind."""

from __future__ import annotations

import os
import sys

from bascule.cli.application import app
from bascule.doctor.command import doctor
from bascule.lab.commands import lab_app
from bascule.model.errors import BasculeError
from bascule.programs.console import console


def main() -> None:
    """Run one command."""
    try:
        app()
    except BasculeError as error:
        sys.stderr.write(f"{error.sentence}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away, as `head` does: what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


# Joined here: the doctor and the lab act on this machine, the other commands reach the system through the API only.
app.add_typer(lab_app, name="lab")
app.command()(doctor)
# And the console is a sibling of the command line: neither knows the other.
app.command(epilog="Example: bascule console --listen 127.0.0.1:8090")(console)
