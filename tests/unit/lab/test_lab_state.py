"""A lab's facts on disk, its lock, and its processes' identity."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bascule.lab import state
from bascule.lab.mounts import mounts_below
from bascule.lab.network import namespace
from bascule.lab.processes import Process, kill
from bascule.lab.shape import Shape
from bascule.lab.waiting import wait_until
from bascule.model.errors import InUse, InvalidInput, NotFound, Unavailable


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labs lie in a directory of the test's own."""
    monkeypatch.setattr(state, "LABS", tmp_path / "labs")
    monkeypatch.setattr(state, "_PATIENCE", 0.05)


def test_what_is_saved_is_loaded() -> None:
    """A lab's facts survive the way to disk and back."""
    lab = state.new_lab("a-b", Shape(underlay_mtu=1500), hosts_only=True)
    state.save(lab)
    assert state.load("a-b") == lab
    state.forget("a-b")
    with pytest.raises(NotFound, match="bascule lab up"):
        state.load("a-b")


@pytest.mark.parametrize("name", ["", "../x", "A", "a" * 25, "-a", "a b"])
def test_names_that_are_no_names(name: str) -> None:
    """A name that would be a strange path or namespace is refused."""
    with pytest.raises(InvalidInput, match="cannot name a lab"):
        state.checked(name)


def test_names_of_namespaces_fit_file_names() -> None:
    """The longest names make a valid file name."""
    assert len(namespace("a" * 24, "control")) < 64


def test_one_lock_at_a_time() -> None:
    """A lock that is held is refused, one that was released is given, and no file is left."""
    with state.only_one("a"), pytest.raises(InUse), state.only_one("a"):
        pass
    with state.only_one("a"), state.only_one("b"):
        pass
    assert list(state.LABS.iterdir()) == []


def test_every_lab_has_its_own_secrets() -> None:
    """Two labs share neither tokens nor the API's port."""
    first, second = (state.new_lab(name, Shape(), hosts_only=False) for name in "ab")
    assert first.admin_token != second.admin_token
    assert not set(first.agent_tokens.values()) & set(second.agent_tokens.values())


def test_a_recycled_pid_is_spared() -> None:
    """A process that started at another time than the one meant is not killed, though it has its pid."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            kill(Process(bystander.pid, started=1))
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_killing_the_dead_does_nothing() -> None:
    """Killing a process that is gone is no error."""
    with subprocess.Popen(["true"]) as gone:
        pass
    kill(Process(gone.pid, started=1))


def test_mounts_elsewhere_are_not_ours() -> None:
    """Only mount points below the directory count."""
    assert mounts_below(state.LABS) == []
    assert mounts_below(Path("/")) != []


def test_waiting_gives_up_with_a_sentence() -> None:
    """A condition that never comes true is reported by name."""
    with pytest.raises(Unavailable, match=r"Rain did not happen within 0\.01 s"):
        wait_until(lambda: False, what="Rain", timeout=0.01, every=0.001)
