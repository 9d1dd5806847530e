"""What pages say of states, durations and trees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from bascule.console import tree, words
from bascule.console.words import Look
from bascule.orchestration.journal import NodeState
from bascule.orchestration.queue import Priority
from bascule.wire.admin_v1_work import JobStepView, JobTreeView

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Row = tuple[str, str, str, str]


def job(state: str, *rows: Row) -> JobTreeView:
    """A job whose steps are (path, node, state, error)."""
    ended = None if state == "running" else START
    steps = [
        JobStepView(
            path=path,
            node=node,
            title=path,
            state=is_,
            started_at=None if is_ == "waiting" else START,
            ended_at=None if is_ in {"waiting", "running"} else START,
            error=error,
            input=None,
            output=None,
        )
        for path, node, is_, error in rows
    ]
    return JobTreeView(
        id=UUID(int=1),
        kind="thing",
        entity_id="one",
        epoch=1,
        event="x",
        state=state,
        started_at=START,
        ended_at=ended,
        error="",
        cancel_requested_at=None,
        steps=steps,
    )


def seen(nodes: Sequence[tree.Node]) -> dict[str, tuple[Look, str]]:
    """How each node looks, and its role."""
    return {node.step.path: (node.look, node.role) for node in tree.walk(nodes)}


def test_every_state_has_a_word_and_a_symbol_of_its_own() -> None:
    """Colour is never all that tells two states apart, and no state of the journal is unknown."""
    looks = [words.look_of(state) for state in NodeState]
    assert Look.UNKNOWN not in looks
    assert words.look_of("paused") is Look.UNKNOWN
    assert len({look.word for look in Look}) == len({look.symbol for look in Look}) == len(Look)


def test_every_priority_says_who_asks() -> None:
    """The queue's priorities in words, and a newer one by its number."""
    assert [words.asked_by(priority) for priority in Priority] == [
        "a user",
        "an operator",
        "an event",
        "the periodic look",
    ]
    assert words.asked_by(5) == "priority 5"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0.00 s"),
        (1.5, "1.50 s"),
        (59.9, "59 s"),
        (61, "1 min 01 s"),
        (3600, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations_have_the_two_units_that_matter(seconds: float, said: str) -> None:
    """And a clock that went backwards is not shown."""
    assert words.lasted(START, START + timedelta(seconds=seconds)) == said
    assert words.lasted(START, None) == words.lasted(None, None) == ""


def test_a_step_whose_turn_never_comes_is_skipped() -> None:
    """It waits while what is around it runs; when that has ended, or the job has, it is skipped."""
    rows: list[Row] = [
        ("1", "sequence", "running", ""),
        ("1.1", "try", "success", ""),
        ("1.1.1", "step", "success", ""),
        ("1.1.2", "step", "waiting", ""),
        ("1.2", "step", "waiting", ""),
    ]
    looks = seen(tree.grow(job("running", *rows)))
    assert (looks["1.1.2"][0], looks["1.2"][0]) == (Look.SKIPPED, Look.WAITING)
    ended = seen(tree.grow(job("failure", ("1", "sequence", "failure", "no"), *rows[1:])))
    assert ended["1.2"][0] is Look.SKIPPED


def test_parts_of_a_try_are_named_as_far_as_the_record_tells() -> None:
    """Of three, the last is finally; of two, the record does not say which the second is."""
    three: list[Row] = [("1", "try", "running", ""), *((f"1.{n}", "step", "waiting", "") for n in (1, 2, 3))]
    roles = [role for _, role in seen(tree.grow(job("running", *three))).values()]
    assert roles == ["", "body", "rescue", "finally"]
    roles = [role for _, role in seen(tree.grow(job("running", *three[:3]))).values()]
    assert roles == ["", "body", "rescue or finally"]


def test_an_error_is_told_where_it_happened_only() -> None:
    """The journal writes it on every branch above as well."""
    nodes = tree.grow(
        job(
            "failure",
            ("1", "sequence", "failure", "no voice"),
            ("1.1", "parallel", "failure", "no voice"),
            ("1.1.1", "step", "success", ""),
            ("1.1.2", "step", "failure", "no voice"),
            ("1.2", "step", "waiting", ""),
        )
    )
    assert [node.step.path for node in tree.walk(nodes) if node.error] == ["1.1.2"]
    culprit = tree.culprit(nodes)
    assert culprit is not None
    assert culprit.step.path == "1.1.2"
    said = tree.tell(job("failure"), tree.count(nodes))
    assert said == "Job failed: 1 of 3 steps done, 1 failed, 1 skipped."


def test_a_job_that_is_asked_to_end_says_so() -> None:
    """Until it has ended."""
    asked = job("running", ("1", "step", "running", "")).model_copy(update={"cancel_requested_at": START})
    assert tree.tell(asked, tree.count(tree.grow(asked))) == "Job being cancelled: 0 of 1 steps done, 1 running."
