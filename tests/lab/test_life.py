"""Labs come and go without a trace, whatever is killed, and live side by side."""

from __future__ import annotations

import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from bascule.lab import life, network, state, traffic
from bascule.lab.processes import kill_all, processes_of
from bascule.lab.shape import Shape
from bascule.lab.traffic import Target
from bascule.lab.waiting import wait_until
from bascule.model.errors import InUse, SystemFailure
from bascule.model.strategies import Protocol
from bascule.system.commands import run
from bascule.system.namespaces import call_in

pytestmark = pytest.mark.lab
_DIRECT, _DIRECT6 = (Target(Protocol.TCP, ip_address(text), 8080) for text in ("10.128.2.12", "fd00:128:2::12"))
_UP = "from bascule.lab import life; from bascule.lab.topology import Shape; life.up({!r}, Shape(), hosts_only=True)"


def test_down_leaves_nothing_behind(bare_name: str) -> None:
    """After `down` there is no process, mount, namespace or file of the lab, and a second `down` finds nothing."""
    lab = life.up(bare_name, Shape(), hosts_only=True)
    for target in (_DIRECT, _DIRECT6):
        assert traffic.send(lab, target, 20).by_instance == {"vm4": 20}
    assert life.down(bare_name)
    assert life.leftovers(bare_name) == []
    assert not life.down(bare_name)


def test_up_refuses_an_existing_lab(bare_name: str) -> None:
    """A second `up` says that the lab exists and leaves it as it is."""
    lab = life.up(bare_name, Shape(), hosts_only=True)
    with pytest.raises(InUse, match="exists"):
        life.up(bare_name, Shape(), hosts_only=True)
    assert not traffic.send(lab, _DIRECT, 5).failures


def test_a_failing_up_cleans_up(bare_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a program of the lab cannot start, `up` says so and takes away what it had built."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SystemFailure, match="ended as soon as it began"):
        life.up(bare_name, Shape(), hosts_only=True)
    assert life.leftovers(bare_name) == []


@pytest.mark.parametrize("progress", ["directory", "namespaces", "processes"])
def test_down_clears_up_after_a_killed_up(bare_name: str, progress: str) -> None:
    """Killing `up` at any stage leaves parts that `down` takes away whole."""
    reached = {
        "directory": lambda: state.exists(bare_name),
        "namespaces": lambda: len(network.namespaces_of(bare_name)) >= 5,
        "processes": lambda: len(list(processes_of(bare_name))) >= 2,
    }[progress]
    with subprocess.Popen([sys.executable, "-c", _UP.format(bare_name)]) as building:
        wait_until(reached, what=f"The stage of {progress}", every=0.001)
        building.send_signal(signal.SIGKILL)
    assert life.down(bare_name)
    assert life.leftovers(bare_name) == []


def test_down_survives_dead_processes(bare_name: str) -> None:
    """A lab whose every process was killed goes away like any other."""
    life.up(bare_name, Shape(), hosts_only=True)
    assert kill_all(bare_name) >= 5
    life.down(bare_name)
    assert life.leftovers(bare_name) == []


def test_two_labs_side_by_side(bare_name: str) -> None:
    """Two labs have the same addresses, do not see each other, and the end of one does not touch the other."""
    other = f"{bare_name}-b"
    labs = [life.up(name, Shape(), hosts_only=True) for name in (bare_name, other)]
    try:
        assert labs[0].topology == labs[1].topology
        assert all(traffic.send(lab, _DIRECT, 10).by_instance == {"vm4": 10} for lab in labs)
        life.down(bare_name)
        assert not traffic.send(labs[1], _DIRECT, 10).failures
    finally:
        life.down(other)


def test_commands_exclude_each_other(bare_name: str) -> None:
    """While one command changes a lab another is told to wait, and the lock dies with its holder."""
    with state.only_one(bare_name), pytest.raises(InUse, match="Another command"):
        life.down(bare_name)
    assert not life.down(bare_name)
    assert not (state.LABS / f"{bare_name}.lock").exists()


def test_the_host_gets_no_interface(bare_name: str) -> None:
    """Building a lab adds no interface to the machine's own namespace."""
    interfaces = Path("/sys/class/net")
    before = set(interfaces.iterdir())
    life.up(bare_name, Shape(), hosts_only=True)
    assert set(interfaces.iterdir()) == before


def test_a_lab_without_ipv6(bare_name: str) -> None:
    """A lab of IPv4 only works, and no interface in it has an address of IPv6."""
    lab = life.up(bare_name, Shape(ipv6=False), hosts_only=True)
    assert traffic.send(lab, _DIRECT, 20).by_instance == {"vm4": 20}
    for name in network.namespaces_of(bare_name).values():
        assert call_in(name, lambda: run(["ip", "-6", "address", "show"])) == ""
