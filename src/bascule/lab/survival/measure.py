"""Start the measuring process beside a lab, do one fault under its eyes, and read what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bascule.lab import processes
from bascule.lab.demo import WEB, WHO
from bascule.lab.network import namespace
from bascule.lab.survival.beats import PLAN, RECORDS, Plan
from bascule.lab.survival.catalogue import Fault
from bascule.lab.survival.flows import Record
from bascule.lab.survival.scene import Scene
from bascule.lab.survival.verdict import Figures, Judgement, figures, judge
from bascule.lab.topology import INSTANCE_PORT
from bascule.model.errors import SystemFailure
from bascule.system.namespaces import call_in

# What measures runs before what is measured, as far as the machine obeys.
_PRIORITY = -10
_DEATH = 30.0
_MOST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much to keep up: see `beats.Plan`. `before` and `after` are seconds of watching around the fault."""

    connections: int = 500
    datagram_flows: int = 200
    interval: float = 0.05
    rate: float = 20.0
    before: float = 2.0
    after: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One fault: when it was done, what was measured, and the verdict. Times are seconds of the monotonic clock.

    `tries` says how often it was measured until this.
    """

    fault: Fault
    effort: Effort
    began: float
    fault_at: float
    ended: float
    marks: tuple[tuple[float, str], ...]
    records: tuple[Record, ...]
    figures: Figures
    judgement: Judgement
    tries: int = 1


def endure(scene: Scene, fault: Fault, effort: Effort, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Do one fault while flows go on, and undo it."""
    try:
        tell("preparing")
        fault.prepare(scene)
        tell("opening flows")
        with _measuring(scene, effort) as collect:
            began = time.monotonic()
            tell("watching before the fault")
            _watch(effort.before)
            tell("the fault is on")
            fault_at = time.monotonic()
            scene.marks.clear()
            fault.inject(scene)
            tell("watching after the fault")
            _watch(effort.after)
            ended = time.monotonic()
            marks = tuple(scene.marks)
            records = collect()
    finally:
        tell("undoing the fault")
        fault.undo(scene)
    found = figures(records, fault_at=fault_at, ended_at=ended, interval=effort.interval, hurt=fault.hurt)
    return Outcome(
        fault=fault,
        effort=effort,
        began=began,
        fault_at=fault_at,
        ended=ended,
        marks=marks,
        records=records,
        figures=found,
        judgement=judge(found, fault.budget),
    )


def clearest(attempt: Callable[[], Outcome], tries: int) -> Outcome:
    """The first outcome that is not in doubt; if all are, the one with the least noise."""
    found = [attempt()]
    while found[-1].judgement.doubtful and len(found) < tries:
        found.append(attempt())
    clear = found[-1] if not found[-1].judgement.doubtful else min(found, key=lambda each: each.figures.noise)
    return replace(clear, tries=len(found))


@contextmanager
def _measuring(scene: Scene, effort: Effort) -> Iterator[Callable[[], tuple[Record, ...]]]:
    """The measuring process, all of its flows open; the function ends it and reads its records."""
    folder = scene.lab.directory
    plan, records = folder / "survival-plan.json", folder / "survival-records.json"
    plan.write_bytes(PLAN.dump_json(_plan(scene, effort)))
    records.unlink(missing_ok=True)
    log = folder / "logs" / "survival.log"
    command = (sys.executable, "-m", "bascule.lab.survival.beats", str(plan), str(records))

    def launch() -> subprocess.Popen[bytes]:
        with log.open("ab") as errors:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

    with call_in(namespace(scene.lab.name, "client"), launch) as child:
        try:
            _prefer(scene, child.pid)
            assert child.stdin is not None
            assert child.stdout is not None
            if not child.stdout.readline():
                raise SystemFailure(f"The measuring process ended before it began: {_last_line(log)}")

            def collect() -> tuple[Record, ...]:
                child.communicate(timeout=_DEATH)
                if child.returncode:
                    raise SystemFailure(f"The measuring process failed: {_last_line(log)}")
                return RECORDS.validate_json(records.read_bytes())

            yield collect
        finally:
            child.kill()


def _plan(scene: Scene, effort: Effort) -> Plan:
    topology = scene.lab.topology
    family = scene.vip.version
    *sources, control_source = map(str, topology.client_addresses(family))
    return Plan(
        address=str(scene.vip),
        tcp_port=WEB.port,
        udp_port=WHO.port,
        control_port=INSTANCE_PORT,
        sources=tuple(sources),
        control_source=control_source,
        controls=tuple(str(topology.host(name).addresses[family]) for name in scene.instances()),
        connections=effort.connections,
        datagram_flows=effort.datagram_flows,
        interval=effort.interval,
        rate=effort.rate,
    )


def _prefer(scene: Scene, measuring: int) -> None:
    servers = (processes.running(scene.lab, f"{name}-server") for name in scene.instances(_MOST))
    for pid in (measuring, *(server.pid for server in servers if server)):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, _PRIORITY)


def _watch(seconds: float) -> None:
    """Let time pass: what is measured is what happens while nobody does anything."""
    time.sleep(seconds)


def _last_line(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").strip().splitlines()[-1:]) or "it said nothing"
