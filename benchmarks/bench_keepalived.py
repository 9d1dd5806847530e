"""Rendering keepalived's configuration, and testing it: `python -m benchmarks.bench_keepalived [file.json]`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bascule.dataplanes.keepalived.render import render
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualBackend, VirtualService

SIZES = (10, 1000, 10_000)
REPETITIONS = 3
CHECK = HealthCheck(
    mode=HealthCheckMode.HTTP, port=8080, uri="/status", body_pattern="ok: [0-9]+", host="www.example.net"
)


@dataclass(frozen=True)
class Figure:
    """The best of several, in milliseconds; `test` is `keepalived -t`, None without keepalived."""

    members: int
    render: float
    test: float | None


def service(size: int) -> VirtualService:
    """One service of so many members."""
    members = (
        VirtualBackend(address=IPv4Address("10.0.0.0") + each, weight=1, target_port=8080) for each in range(size)
    )
    return VirtualService(
        key=ServiceKey(IPv4Address("203.0.113.10"), Protocol.TCP, 80),
        strategy=Strategy.MAGLEV_HASH,
        hash_source_port=True,
        hash_seed=0,
        health_check=CHECK,
        backends=tuple(members),
    )


def best(function: Callable[[], object]) -> float:
    """Milliseconds of the fastest repetition."""
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print the table; with an argument, write JSON there."""
    figures = []
    print("members   render ms   keepalived -t ms")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keepalived.conf"
        for size in SIZES:
            wanted = [service(size)]
            file.write_text(render("bench", wanted, Path("/usr/bin")).text)
            test = ["keepalived", "--config-test", "--use-file", str(file)]
            figure = Figure(
                size,
                best(lambda wanted=wanted: render("bench", wanted, Path("/usr/bin"))),  # type: ignore[misc]
                best(lambda test=test: subprocess.run(test, check=True)) if shutil.which("keepalived") else None,  # type: ignore[misc]
            )
            print(f"{figure.members:7} {figure.render:11.1f}   {figure.test or 0:16.1f}")
            figures.append(figure)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([asdict(figure) for figure in figures], indent=2))


if __name__ == "__main__":
    main()
