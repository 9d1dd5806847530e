"""The bed of the IPVS tests says how a guest ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import user_mode_linux as uml

installed = pytest.mark.skipif(not uml.KERNEL.exists(), reason=f"needs {uml.KERNEL}: install user-mode-linux")
FEW = uml.Guest(modules="", timeout=60)


def test_a_missing_kernel_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without User-Mode Linux the status is its own, and the sentence says what to install."""
    status = uml.main(["--kernel", str(tmp_path / "linux"), "--output", str(tmp_path), "--", "true"])
    assert status == uml.NOT_INSTALLED
    assert "apt-get install user-mode-linux" in capfd.readouterr().err


@installed
def test_status_output_and_files_come_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command's status, both streams and what it wrote to /run/out reach this machine, odd arguments reach it."""
    script = 'echo "$1"; echo oops >&2; id -u >/run/out/me; exit 3'
    assert uml.run(FEW, ["sh", "-c", script, "sh", "a 'quoted' $HOME"], tmp_path) == 3
    said = capfd.readouterr()
    assert (said.out, said.err) == ("a 'quoted' $HOME\n", "oops\n")
    assert (tmp_path / "me").read_text() == "0\n"


@installed
def test_the_guest_writes_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The files of this machine are read-only for the guest, its root included."""
    here = tmp_path / "elsewhere"
    here.mkdir()
    (tmp_path / "out").mkdir()
    assert uml.run(FEW, ["touch", str(here / "file")], tmp_path / "out") == 1
    assert "Read-only file system" in capfd.readouterr().err
    assert list(here.iterdir()) == []


@installed
def test_a_command_that_takes_too_long_is_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A time-out has a status of its own, keeps what was said before, and says how to have more time."""
    assert uml.run(uml.Guest(modules="", timeout=1), ["sh", "-c", "echo begun; sleep 600"], tmp_path) == uml.TOO_SLOW
    said = capfd.readouterr()
    assert said.out == "begun\n"
    assert "--timeout" in said.err


@installed
def test_a_guest_that_dies_says_its_last_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A panic is no test result: it has a status of its own, and shows the kernel's words."""
    assert uml.run(FEW, ["sh", "-c", "echo c >/proc/sysrq-trigger"], tmp_path) == uml.DIED
    assert "panic" in capfd.readouterr().err


@installed
def test_a_module_that_is_missing_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A guest without the modules that it was told to load runs no command."""
    assert uml.run(uml.Guest(modules="veth nonesuch"), ["true"], tmp_path) == uml.NO_MODULE
    assert "nonesuch" in capfd.readouterr().err
