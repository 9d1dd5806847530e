"""Which silent LB nodes count as dead."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from bascule.balancing.patience import Patience, held_sentence
from bascule.model.nodes import Silence
from tests.unit.balancing.world import lb_node

FIVE_MINUTES = Patience(after=300.0, share=0.25)
FLEET = tuple(lb_node(number) for number in range(8))


def verdicts(silent_since: dict[int, float], now: float, *, disabled: int | None = None) -> dict[int, Silence]:
    """By the number of the node."""
    nodes = [lb_node(number, enabled=number != disabled) for number in range(8)]
    since: dict[UUID, float] = {lb_node(number).id: at for number, at in silent_since.items()}
    found = FIVE_MINUTES.verdicts(nodes, since, now)
    return {number: found[lb_node(number).id][1] for number in silent_since}


def test_a_silent_node_waits_for_the_grace_time_to_end() -> None:
    """One second before its end nothing happens; then it counts as dead."""
    assert verdicts({1: 100.0}, 399.0) == {1: Silence.WAITING}
    assert verdicts({1: 100.0}, 400.0) == {1: Silence.REPLACED}


def test_two_of_eight_are_replaced_and_not_three() -> None:
    """One more than the share holds all of them, also one that fell silent a moment ago."""
    assert verdicts({1: 0.0, 2: 0.0}, 400.0) == {1: Silence.REPLACED, 2: Silence.REPLACED}
    expected = {1: Silence.HELD, 2: Silence.HELD, 3: Silence.WAITING}
    assert verdicts({1: 0.0, 2: 0.0, 3: 399.0}, 400.0) == expected


def test_a_disabled_node_does_not_count() -> None:
    """An operator's word that a machine is gone lets the others be replaced."""
    expected = {1: Silence.REPLACED, 2: Silence.REPLACED, 3: Silence.WAITING}
    assert verdicts({1: 0.0, 2: 0.0, 3: 0.0}, 400.0, disabled=3) == expected


def test_one_may_always_be_replaced() -> None:
    """However small the fleet or the share."""
    assert Patience(share=0.01).most(FLEET) == 1
    assert Patience(share=0.25).most(FLEET[:3]) == 1
    assert Patience(share=0.34).most(FLEET[:6]) == 2


def test_a_clock_that_was_set_back_begins_the_silence_anew() -> None:
    """A silence of the future is one of now: nobody waits for that future, and nobody is replaced early."""
    node = lb_node(1)
    found = FIVE_MINUTES.verdicts(FLEET, {node.id: 10_000.0}, 50.0)
    assert found == {node.id: (50.0, Silence.WAITING)}


def test_a_silence_goes_on_until_the_node_answers() -> None:
    """Whoever is heard is silent no more, the others are since they first were."""
    before = {lb_node(1).id: 5.0, lb_node(2).id: 6.0}
    answering = {node.id for node in FLEET} - {lb_node(2).id, lb_node(3).id}
    assert FIVE_MINUTES.since(FLEET, answering, before, 9.0) == {lb_node(2).id: 6.0, lb_node(3).id: 9.0}


def test_what_is_held_is_said_with_what_to_do() -> None:
    """The sentence names who is silent and how to go on; without anything held there is none."""
    since = {node.id: 0.0 for node in FLEET[:3]}
    sentence = held_sentence(FLEET, FIVE_MINUTES.verdicts(FLEET, since, 400.0), 2)
    assert "lb0, lb1, lb2 do not answer: 3 LB nodes of 8" in sentence
    assert "bascule node disable" in sentence
    assert held_sentence(FLEET, FIVE_MINUTES.verdicts(FLEET, since, 4.0), 2) == ""


@given(st.integers(1, 20), st.floats(0.0, 1.0), st.dictionaries(st.integers(0, 19), st.floats(0.0, 1000.0)))
def test_never_more_than_the_share_counts_as_dead(nodes: int, share: float, silent: dict[int, float]) -> None:
    """Whoever is silent for however long."""
    patience = Patience(after=100.0, share=share)
    fleet = tuple(lb_node(number) for number in range(nodes))
    since = {lb_node(number).id: at for number, at in silent.items() if number < nodes}
    found = patience.verdicts(fleet, since, 1000.0)
    assert sum(verdict is Silence.REPLACED for _, verdict in found.values()) <= max(1, share * nodes + 1e-6)
