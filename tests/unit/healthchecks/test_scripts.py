"""Scripts that the operator installed: what is run, what is refused, and what is left behind (nothing)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from bascule.healthchecks.interface import HealthEvent, ProbeResult
from bascule.healthchecks.notifier import Notifier
from bascule.healthchecks.probes.script import ScriptProbe
from bascule.healthchecks.scripts import ScriptFolder
from bascule.model.errors import SystemFailure
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from tests.unit.healthchecks.servers import LOOPBACK

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: scripts must be root's")


@pytest.fixture
def scripts(tmp_path: Path) -> ScriptFolder:
    folder = tmp_path / "checks"
    folder.mkdir(mode=0o755)
    return ScriptFolder(folder)


def install(scripts: ScriptFolder, text: str, name: str = "check", mode: int = 0o755) -> Path:
    path = scripts.folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


async def check(scripts: ScriptFolder, *, weigh: bool = False, name: str = "check") -> ProbeResult:
    wanted = HealthCheck(mode=HealthCheckMode.SCRIPT, port=8080, script=name, script_weight=weigh)
    async with asyncio.timeout(5):
        return await ScriptProbe(scripts).check(LOOPBACK, wanted)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  processes and files have no event
            await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


STATUSES: list[tuple[str, bool, ProbeResult]] = [
    ("exit 0", False, ProbeResult(True, "exit status 0")),
    ("exit 1", False, ProbeResult(False, "exit status 1")),
    ("exit 52", False, ProbeResult(False, "exit status 52")),
    ("kill -9 $$", False, ProbeResult(False, "killed by signal 9")),
    ("exit 0", True, ProbeResult(True, "exit status 0")),
    ("exit 1", True, ProbeResult(False, "exit status 1")),
    ("exit 2", True, ProbeResult(True, "exit status 2", 0)),
    ("exit 52", True, ProbeResult(True, "exit status 52", 50)),
    ("exit 102", True, ProbeResult(True, "exit status 102", 100)),
    ("exit 255", True, ProbeResult(True, "exit status 255", 100)),
    ("kill -9 $$", True, ProbeResult(False, "killed by signal 9")),
]


@pytest.mark.parametrize(("text", "weigh", "expected"), STATUSES)
async def test_the_exit_status_decides(scripts: ScriptFolder, text: str, weigh: bool, expected: ProbeResult) -> None:
    """0 is health, everything else is not, unless the status is a weight."""
    install(scripts, text)
    assert await check(scripts, weigh=weigh) == expected


async def test_a_script_gets_two_arguments_and_nothing_else(
    scripts: ScriptFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address and port; no environment, no input, no descriptors, no folder of ours."""
    monkeypatch.setenv("BASCULE_AGENT_TOKEN", "a secret of the agent")
    seen = scripts.folder / "seen"
    install(scripts, f"{{ echo $# $1 $2; pwd; env; cat; ls /proc/self/fd; }} > {seen}")
    assert (await check(scripts)).ok
    lines = seen.read_text().splitlines()
    assert lines[:2] == ["2 127.0.0.1 8080", "/"]
    assert not [line for line in lines if "BASCULE" in line or "HOME" in line]
    assert set(lines[-4:]) == {"0", "1", "2", "3"}


async def test_a_hanging_script_dies_with_all_that_it_started(scripts: ScriptFolder) -> None:
    """The timeout kills the whole group."""
    seen = scripts.folder / "pids"
    install(scripts, f"sleep 600 & echo $! $$ > {seen}.new; mv {seen}.new {seen}; sleep 600")
    task = asyncio.create_task(check(scripts))
    await eventually(seen.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for pid in map(int, seen.read_text().split()):
        await eventually(lambda pid=pid: not running(pid))  # type: ignore[misc]


async def test_what_a_script_leaves_behind_is_killed(scripts: ScriptFolder) -> None:
    """A child that outlives its script ends with it, and does not hold up the answer."""
    seen = scripts.folder / "pid"
    install(scripts, f"sleep 600 & echo $! > {seen}; exit 0")
    assert (await check(scripts)).ok
    await eventually(lambda: not running(int(seen.read_text())))


async def test_a_flood_of_output_harms_nobody(scripts: ScriptFolder) -> None:
    """Output is not kept."""
    install(scripts, "head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2")
    assert (await check(scripts)).ok


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../check", "/bin/true", "a/b", "check\n", "a b", "$(reboot)", ".hidden", "a\x00", "é", "x" * 65],
)
async def test_a_name_is_never_a_path(scripts: ScriptFolder, name: str) -> None:
    """Whatever is not a plain name is refused, though the API had let it through."""
    install(scripts, "exit 0")
    result = await check(scripts, name=name)
    assert not result.ok
    assert "is no name of a script" in result.message


def _missing(path: Path) -> None:
    path.unlink()


def _world_writable(path: Path) -> None:
    path.chmod(0o757)


def _group_writable(path: Path) -> None:
    path.chmod(0o775)


def _foreign(path: Path) -> None:
    os.chown(path, 65534, 0)


def _not_executable(path: Path) -> None:
    path.chmod(0o644)


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/bin/true")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _folder_writable(path: Path) -> None:
    path.parent.chmod(0o777)


def _folder_sticky(path: Path) -> None:
    path.parent.chmod(0o1777)


def _folder_foreign(path: Path) -> None:
    os.chown(path.parent, 65534, 0)


def _no_program(path: Path) -> None:
    path.write_text("#!/no/such/program\n")


UNSAFE = [
    _missing, _world_writable, _group_writable, _foreign, _not_executable, _link, _folder, _folder_writable,
    _folder_sticky, _folder_foreign, _no_program,
]  # fmt: skip


@pytest.mark.parametrize("spoil", UNSAFE, ids=lambda spoil: spoil.__name__)
async def test_a_script_that_is_not_safely_roots_is_not_run(
    scripts: ScriptFolder, spoil: Callable[[Path], None]
) -> None:
    """The check fails with a sentence that names the file."""
    path = install(scripts, "exit 0")
    assert (await check(scripts)).ok
    spoil(path)
    result = await check(scripts)
    assert not result.ok
    assert str(path.parent) in result.message


async def test_a_folder_inside_one_that_others_write_is_refused(tmp_path: Path) -> None:
    """Whoever can rename the folder could put another in its place."""
    folder = tmp_path / "open" / "checks"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o777)
    scripts = ScriptFolder(folder)
    install(scripts, "exit 0")
    with pytest.raises(SystemFailure, match="written by others"):
        scripts.find("check")


async def test_a_link_to_a_folder_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    """A link of root's into a place that others may write is no way round the rule; one to a safe place is taken."""
    folder = tmp_path / "open" / "checks"
    folder.mkdir(parents=True)
    install(ScriptFolder(folder), "exit 0")
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert (await check(ScriptFolder(link))).ok
    folder.parent.chmod(0o777)
    assert not (await check(ScriptFolder(link))).ok


def event(number: int, *, up: bool = True) -> HealthEvent:
    return HealthEvent("backend", UUID(int=1), IPv4Address("10.0.0.0") + number, 80, up)


async def test_events_are_told_in_their_order(scripts: ScriptFolder) -> None:
    """The script is run once for each, with what rose or fell as its arguments."""
    seen = scripts.folder / "seen"
    install(scripts, f'echo "$@" >> {seen}', "notify")
    notifier = Notifier(scripts, "notify")
    for number in range(1, 6):
        notifier.tell(event(number, up=number % 2 == 0))
    await eventually(lambda: seen.exists() and len(seen.read_text().splitlines()) == 5)
    await notifier.close()
    assert seen.read_text().splitlines()[:2] == [
        f"backend {UUID(int=1)} 10.0.0.1 80 down",
        f"backend {UUID(int=1)} 10.0.0.2 80 up",
    ]


async def test_a_notify_script_that_hangs_or_fails_holds_up_nobody(scripts: ScriptFolder) -> None:
    """The next event is told after the timeout; telling itself never waits."""
    seen = scripts.folder / "seen"
    install(scripts, f'test "$3" = 10.0.0.1 && sleep 600; test "$3" = 10.0.0.2 && exit 1; echo $3 > {seen}', "notify")
    notifier = Notifier(scripts, "notify", timeout=1.5)
    for number in (1, 2, 3):
        notifier.tell(event(number))
    for _ in range(5000):
        notifier.tell(event(3))
    await eventually(seen.exists)
    await notifier.close()
