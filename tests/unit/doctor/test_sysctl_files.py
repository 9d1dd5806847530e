"""Which line of which file sets a sysctl in the end."""

from __future__ import annotations

from pathlib import Path

from bascule.doctor.facts import Assignment
from bascule.doctor.sysctl_files import parse, read


def write(root: Path, name: str, text: str) -> Path:
    """A file below the root."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_every_way_to_write_a_key() -> None:
    """Comments and blank lines are skipped; slashes, dots in interface names and a leading dash are understood."""
    text = "# a = 1\n; b = 2\n\n-net.ipv4.ip_forward = 1\nnet/ipv4/conf/eth0.5/rp_filter=2\nno assignment\n"
    assert [(line.key, line.value) for line in parse("f", text)] == [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.eth0/5.rp_filter", "2"),
    ]


def test_files_hide_and_follow_each_other(tmp_path: Path) -> None:
    """A file hides those of its name in later folders, a later name beats an earlier one, sysctl.conf comes last."""
    write(tmp_path, "usr/lib/sysctl.d/50-a.conf", "a = hidden\nonly = hidden\n")
    first = write(tmp_path, "etc/sysctl.d/50-a.conf", "a = 1\nb = 1\nc = 1\n")
    second = write(tmp_path, "run/sysctl.d/60-b.conf", "b = 2\nc = 2\n")
    last = write(tmp_path, "etc/sysctl.conf", "c = 3\n")

    assert set(read(tmp_path)) == {
        Assignment(file=str(first), key="a", value="1"),
        Assignment(file=str(second), key="b", value="2"),
        Assignment(file=str(last), key="c", value="3"),
    }
