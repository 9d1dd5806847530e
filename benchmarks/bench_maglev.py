"""Making a Maglev table, in Python and in C: `python -m benchmarks.bench_maglev [file.json]`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bascule.dataplanes.xdp.maglev import Share, fill, fill_reference

SIZES = (2, 10, 100, 1000)
REPETITIONS = 5


@dataclass(frozen=True)
class Figure:
    """The best of several, in milliseconds."""

    backends: int
    python: float
    c: float


def best(make: Callable[[Sequence[Share], int], object], shares: Sequence[Share]) -> float:
    """Milliseconds of the fastest repetition."""
    times = []
    for seed in range(REPETITIONS):
        start = time.perf_counter()
        make(shares, seed)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print the table; with an argument, write JSON there."""
    figures = []
    print("backends   Python ms    C ms   ratio")
    for size in SIZES:
        shares = [Share(IPv4Address("10.0.0.0") + number, 1, number) for number in range(1, size + 1)]
        figure = Figure(size, best(fill_reference, shares), best(fill, shares))
        print(f"{figure.backends:8} {figure.python:11.1f} {figure.c:7.2f} {figure.python / figure.c:7.0f}")
        figures.append(figure)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([asdict(figure) for figure in figures], indent=2))


if __name__ == "__main__":
    main()
