"""A sample of the histories that `make simulate` runs by the thousand, and proof that they find what is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.history import simulate

ROOT = Path(__file__).parents[2]
SAMPLE = 100
BATCH = 25
_DIGESTS = """
from tests.simulation.history import simulate
print(*(simulate(seed).digest for seed in range(3)))
"""


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, SAMPLE, BATCH)]
)
def test_every_rule_holds(first: int) -> None:
    """Through crashes, lost messages and a database that refuses, every rule holds and every change comes true."""
    broken = [outcome.broken for seed in range(first, first + BATCH) if (outcome := simulate(seed)).broken]
    assert broken == []


def test_a_seed_replays_exactly() -> None:
    """Two processes that hash differently tell the same history of the same seed."""
    told = []
    for hashes in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        command = [sys.executable, "-c", _DIGESTS]
        told.append(
            subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        )
    assert told[0] == told[1]
    assert len(set(told[0].split())) == 3


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_rule_is_found(name: str) -> None:
    """Code that breaks a rule does not survive the seeds, and it is that rule which fails."""
    breakage = BREAKAGES[name]
    with breakage.broken():
        outcome = next((found for seed in breakage.seeds if (found := simulate(seed, breakage.profile)).broken), None)
    assert outcome is not None
    assert outcome.rule == breakage.rule
