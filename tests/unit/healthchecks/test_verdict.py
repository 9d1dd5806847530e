"""The verdict, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.verdict import Verdict, judge, pause
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode

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


LETTERS = {Health.SUCCESS: "S", Health.FAILURE: "F", Health.UNKNOWN: "u"}


@pytest.mark.parametrize(("results", "retries", "expected"), TABLE)
def test_rise_and_fall(results: str, retries: int, expected: str) -> None:
    """The first result decides; one success heals; `retries` failures after the first one in a row break."""
    verdict, seen = Verdict(), ""
    for result in results:
        verdict = judge(verdict, ProbeResult(result == "o", result), retries)
        seen += LETTERS[verdict.health]
    assert seen == expected
    assert verdict.message == results[-1]


# With `rise`: results, retries, rise, and the health after each result.
RISES = [
    ("o", 1, 3, "S"),
    ("xoo", 1, 3, "FFF"),
    ("xooo", 1, 3, "FFFS"),
    ("xooxooo", 1, 3, "FFFFFFS"),
    ("oxxoo", 1, 2, "SSFFS"),
    ("xoox", 0, 2, "FFSF"),
]


@pytest.mark.parametrize(("results", "retries", "rise", "expected"), RISES)
def test_rise_counts_successes_in_a_row(results: str, retries: int, rise: int, expected: str) -> None:
    """Whoever fell must please `rise` times in a row; the first result ever still decides at once."""
    verdict, seen = Verdict(), ""
    for result in results:
        verdict = judge(verdict, ProbeResult(result == "o", result), retries, rise)
        seen += LETTERS[verdict.health]
    assert seen == expected


@given(results=st.lists(st.booleans(), max_size=60), retries=st.integers(0, 5), rise=st.integers(1, 5))
def test_health_changes_only_after_enough_results_in_a_row(results: list[bool], retries: int, rise: int) -> None:
    """Whatever the history: enough equal results in a row decide, fewer change nothing."""
    verdict = Verdict()
    for place, ok in enumerate(results):
        before, verdict = verdict.health, judge(verdict, ProbeResult(ok, ""), retries, rise)
        row = 0
        while row <= place and results[place - row] is ok:
            row += 1
        wanted = Health.SUCCESS if ok else Health.FAILURE
        enough = row >= (rise if ok else retries + 1)
        assert verdict.health is (wanted if enough or before is Health.UNKNOWN else before)


@given(st.lists(st.one_of(st.none(), st.integers(0, 100)), max_size=30))
def test_the_weight_is_the_last_good_checks(weights: list[int | None]) -> None:
    """A failure that is tolerated keeps the weight, one that is not takes it away."""
    verdict = Verdict()
    for weight in weights:
        verdict = judge(verdict, ProbeResult(True, "", weight), 1)
        assert verdict.weight == weight
        tolerated = judge(verdict, ProbeResult(False, ""), 1)
        assert (tolerated.health, tolerated.weight) == (Health.SUCCESS, weight)
        assert judge(tolerated, ProbeResult(False, ""), 1).weight is None


@pytest.mark.parametrize(
    ("results", "expected"), [("o", 10), ("ox", 2), ("oxo", 10), ("oxxx", 10), ("oxxxo", 2), ("oxxxoo", 10), ("x", 10)]
)
def test_checks_follow_quickly_while_in_doubt(results: str, expected: float) -> None:
    """Between the first result against a verdict and its end the short interval holds, otherwise the usual one."""
    check = HealthCheck(mode=HealthCheckMode.TCP, port=80, interval=10, retry_interval=2, retries=2, rise=2)
    verdict = Verdict()
    for result in results:
        verdict = judge(verdict, ProbeResult(result == "o", ""), check.retries, check.rise)
    assert pause(verdict, check) == expected
    assert pause(verdict, replace(check, retry_interval=None)) == 10
