"""Commands that act on this machine: listed without being loaded, and the real ones when they are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.cli.on_this_machine import OnThisMachine
from bascule.model.errors import InvalidInput
from bascule.programs.command_line import command_line

ROOT = command_line()
_BASCULE = Path(sys.executable).with_name("bascule")
JOINED = {name: command for name, command in ROOT.commands.items() if isinstance(command, OnThisMachine)}


@pytest.mark.parametrize("name", JOINED)
def test_the_sentence_in_the_list_is_the_commands_own(name: str) -> None:
    """Nobody sees another one by `bascule NAME --help`."""
    real = JOINED[name].real()
    assert real.name == name
    assert JOINED[name].help == " ".join((real.help or "").split("\n\n")[0].split())


def test_help_loads_none_of_them() -> None:
    """They take longer to load than all that ask the API."""
    code = (
        "import sys; from bascule.programs.command_line import command_line\n"
        "command_line()(['--help'], standalone_mode=False)\n"
        "assert not {'bascule.lab', 'bascule.doctor', 'fastapi'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert all(name in told.stdout for name in JOINED)


@pytest.mark.parametrize(("words", "offered"), [("bascule do", "doctor"), ("bascule lab sur", "survive")])
def test_completion_knows_them(words: str, offered: str) -> None:
    """And what is below them."""
    asked = {"_BASCULE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    told = subprocess.run([_BASCULE], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert offered in told.stdout.split(), told


def test_they_cannot_be_planned() -> None:
    """They would act: `bascule plan lab down` must not."""
    with pytest.raises(InvalidInput, match="lab acts on this machine"):
        ROOT(["plan", "lab", "down"], standalone_mode=False)
