"""Leases and heartbeats: what survives a process, and what does not survive a reboot."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bascule.announcers.vrrp.deadlines import Heartbeat, Lease, now


def test_without_a_lease_nothing_lapses(tmp_path: Path) -> None:
    """A lease of 0 seconds is for ever, and leaves nothing on disk."""
    lease = Lease(tmp_path / "lease", 0)
    lease.renew()
    assert not lease.has_lapsed()
    assert list(tmp_path.iterdir()) == []


def test_a_new_process_has_the_lease_of_the_one_before(tmp_path: Path) -> None:
    """A machine begins without a lease; what the control plane said to one process, the next one knows."""
    first = Lease(tmp_path / "lease", 60)
    assert first.has_lapsed()
    first.renew()
    assert not first.has_lapsed()
    assert not Lease(tmp_path / "lease", 60).has_lapsed()


def test_a_lease_lapses(tmp_path: Path) -> None:
    """So long after the last word it is over."""
    (tmp_path / "lease").write_text(f"{now() - 61}\n")
    assert Lease(tmp_path / "lease", 60).has_lapsed()


def test_a_lease_of_before_a_reboot_is_none(tmp_path: Path) -> None:
    """A word that lies in the future was said before the clock began anew, and a broken file says nothing."""
    for text in (f"{now() + 1000}\n", "nan\n", "", "yesterday"):
        (tmp_path / "lease").write_text(text)
        assert Lease(tmp_path / "lease", 60).has_lapsed()


def test_the_script_tells_whether_an_agent_is_there(tmp_path: Path) -> None:
    """It succeeds until the moment that was written, and fails after it, or when nothing was."""
    heartbeat = Heartbeat(tmp_path)
    heartbeat.beat(60)
    assert subprocess.run([heartbeat.script], check=False).returncode == 0
    heartbeat.beat(-1)
    assert subprocess.run([heartbeat.script], check=False).returncode != 0
    (tmp_path / "agent-until").unlink()
    assert subprocess.run([heartbeat.script], check=False, stderr=subprocess.DEVNULL).returncode != 0
