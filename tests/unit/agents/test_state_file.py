"""The state file: whole after every failure."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import TypeAdapter

from bascule.agents.state_file import StateFile
from bascule.model.errors import SystemFailure

Words = tuple[str, ...]


def words_in(path: Path) -> StateFile[Words]:
    return StateFile(path, TypeAdapter(Words), tuple)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Another process finds what was saved last, in a folder that was made on the way."""
    path = tmp_path / "deep" / "state.json"
    words_in(path).save(("a",))
    words_in(path).save(("b", "c"))
    assert words_in(path).load() == (("b", "c"), None)
    assert [each.name for each in path.parent.iterdir()] == ["state.json"]


def test_no_file_is_no_problem(tmp_path: Path) -> None:
    """The first start of an agent begins empty."""
    assert words_in(tmp_path / "state.json").load() == ((), None)


def test_identifiers_survive(tmp_path: Path) -> None:
    """Types that JSON lacks come back as they were."""
    file: StateFile[tuple[UUID, ...]] = StateFile(tmp_path / "s.json", TypeAdapter(tuple[UUID, ...]), tuple)
    file.save((UUID(int=5),))
    assert file.load() == ((UUID(int=5),), None)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"version": 2, "state": ["a"]}', b'{"version": 1}', b'{"version":1,"state":[1]}'],
)
def test_a_corrupt_file_is_set_aside_and_told(tmp_path: Path, content: bytes) -> None:
    """The agent begins empty, says so, and keeps the bytes for a human."""
    path = tmp_path / "state.json"
    path.write_bytes(content)
    state, problem = words_in(path).load()
    assert state == ()
    assert problem is not None
    assert "state.json.corrupt" in problem
    assert (tmp_path / "state.json.corrupt").read_bytes() == content
    assert words_in(path).load() == ((), None)


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    """A directory in the file's place is a problem, not a crash."""
    path = tmp_path / "state.json"
    path.mkdir()
    state, problem = words_in(path).load()
    assert state == ()
    assert problem is not None


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.root
def test_a_full_disk_refuses_and_keeps_the_old_state(tiny_disk: Path) -> None:
    """The sentence names the file, the old state is still there, and the next save works once there is room."""
    file = words_in(tiny_disk / "state.json")
    file.save(("old",))
    with pytest.raises(SystemFailure, match=os.strerror(errno.ENOSPC)):
        file.save(("x" * 20_000,))
    assert file.load() == (("old",), None)
    file.save(("new",))
    assert file.load() == (("new",), None)
