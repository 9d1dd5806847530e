"""`make simulate`: many seeds on every core, or one of them again with all that happened."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.simulation.history import Outcome, simulate

EVENTS_SHOWN = 60
BATCH = 20
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Exit status 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one and show everything")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.seed is not None:
        return _replay(given.seed)
    return _sweep(range(given.first, given.first + given.seeds), given.processes)


def _replay(seed: int) -> int:
    outcome = simulate(seed)
    for line in outcome.trace:
        console.print(line, markup=False)
    console.print(f"seed {seed}: {outcome.broken or 'every rule holds'} (trace {outcome.digest})", markup=False)
    return 1 if outcome.broken else 0


def batch(seeds: range) -> list[Outcome]:
    """Several seeds, in a process of their own. Traces of good ones are left behind."""
    return [simulate(seed).without_trace() for seed in seeds]


def _sweep(seeds: range, processes: int) -> int:
    started = time.monotonic()
    outcomes: list[Outcome] = []
    with suppress(KeyboardInterrupt):  # what was found until then is told all the same
        for outcome in _run(seeds, processes):
            outcomes.append(outcome)
            if outcome.broken:
                console.print(f"[red]seed {outcome.seed}[/red]: {outcome.broken}")
    failures = sorted((each for each in outcomes if each.broken), key=lambda each: each.seed)
    _summarize(outcomes, time.monotonic() - started)
    for failure in failures[:3]:
        console.print(f"\n[red]seed {failure.seed}[/red]: {failure.broken}")
        for line in failure.trace[-EVENTS_SHOWN:]:
            console.print(f"  {line}", markup=False)
    for failure in failures:
        console.print(f"[red]broken[/red]  {failure.broken}  replay: make simulate SEED={failure.seed}")
    return 1 if failures or len(outcomes) < len(seeds) else 0


def _run(seeds: range, processes: int) -> Iterator[Outcome]:
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[broken]} broken"),
    )
    broken = 0
    with Progress(*columns, console=console) as progress, ProcessPoolExecutor(processes, initializer=_deaf) as pool:
        task = progress.add_task("", total=len(seeds), broken=0)
        waiting = [pool.submit(batch, seeds[begin : begin + BATCH]) for begin in range(0, len(seeds), BATCH)]
        try:
            for done in as_completed(waiting):
                found = done.result()
                broken += sum(bool(each.broken) for each in found)
                progress.update(task, advance=len(found), broken=broken)
                yield from found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _deaf() -> None:
    """Ctrl-C is for the process that shows the progress."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _summarize(outcomes: list[Outcome], seconds: float) -> None:
    faults: Counter[str] = sum((each.faults for each in outcomes), Counter())
    slowest = max(outcomes, key=lambda each: each.calm_after, default=None)
    broken = sum(bool(each.broken) for each in outcomes)
    console.print(
        f"{len(outcomes)} seeds, {broken} broken, {sum(each.steps for each in outcomes)} steps checked,"
        f" {faults.total()} faults, in {seconds:.0f} s"
    )
    for fault, count in sorted(faults.items()):
        console.print(f"  {count:8} {fault}")
    if slowest is not None:
        console.print(f"slowest convergence: {slowest.calm_after:.0f} virtual seconds (seed {slowest.seed})")


if __name__ == "__main__":
    sys.exit(main())
