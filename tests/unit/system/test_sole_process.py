"""One process of a kind at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.model.errors import SystemFailure
from bascule.system.sole_process import sole_process


def test_the_second_process_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    """While one holds the lock another is refused; afterwards it may have it."""
    lock = tmp_path / "deep" / "agent.lock"
    with sole_process(lock), pytest.raises(SystemFailure, match=f"pid {os.getpid()}"), sole_process(lock):
        pass
    with sole_process(lock):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The sentence tells which folder to make writable."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemFailure, match=r"agent\.lock"), sole_process(tmp_path / "file" / "agent.lock"):
        pass
