"""The verdict, as a table."""

from __future__ import annotations

import pytest

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.verdict import Verdict, judge
from bascule.model.health_checks import Health

# Results (o = ok, x = failed) and the health after each of them (u = unknown, S = success, F = failure).
TABLE = [
    ("o", 1, "S"),
    ("x", 1, "F"),
    ("x", 5, "F"),
    ("ox", 1, "SS"),
    ("oxx", 1, "SSF"),
    ("ox", 0, "SF"),
    ("oxxx", 2, "SSSF"),
    ("oxoxx", 1, "SSSSF"),
    ("oxxo", 1, "SSFS"),
    ("xo", 3, "FS"),
    ("xxxox", 1, "FFFSS"),
]


@pytest.mark.parametrize(("results", "retries", "expected"), TABLE)
def test_rise_and_fall(results: str, retries: int, expected: str) -> None:
    """The first result decides; one success heals; `retries` failures after the first one in a row break."""
    verdict, seen = Verdict(), ""
    for result in results:
        verdict = judge(verdict, ProbeResult(result == "o", result), retries)
        seen += {Health.SUCCESS: "S", Health.FAILURE: "F", Health.UNKNOWN: "u"}[verdict.health]
    assert seen == expected
    assert verdict.message == results[-1]
